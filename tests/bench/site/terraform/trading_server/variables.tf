variable "scope" {
  type = object({
    project     = string
    environment = string
    account_id  = string
    region      = string
    timezone    = string
    package     = string
    image_id    = string
    alert_topic = string
  })
}

variable "network" {
  type = object({
    private_subnet_ids = list(string)
    security_group_ids = map(string)
    zone_id            = string
    dns_zone           = string
  })
}

variable "profile" {
  description = "The instance profile of the hosts."
  type        = string
}

variable "roles" {
  description = "ARNs of roles, by component/kind."
  type        = map(string)
}

variable "model_bucket" {
  type = string
}
