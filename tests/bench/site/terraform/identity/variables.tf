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

variable "policies" {
  type = map(string)
}
