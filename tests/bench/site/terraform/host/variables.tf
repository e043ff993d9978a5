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

variable "component" {
  type = string
}

variable "instance_type" {
  type = string
}

variable "volume_size" {
  type    = number
  default = 16
}

variable "profile" {
  type = string
}

variable "network" {
  type = object({
    private_subnet_ids = list(string)
    security_group_ids = map(string)
    zone_id            = string
    dns_zone           = string
  })
}

variable "settings" {
  description = "Written to the host's settings file, in addition to project, environment, component and region."
  type        = map(string)
  default     = {}
}
