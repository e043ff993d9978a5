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

variable "description" {
  type = string
}

variable "role" {
  type = string
}

variable "scheduler_role" {
  type = string
}

variable "timeout" {
  type = number
}

variable "memory_size" {
  type = number
}

variable "variables" {
  type    = map(string)
  default = {}
}

variable "dead_letter_arn" {
  type    = string
  default = ""
}

variable "schedules" {
  type = map(object({ description = string, expression = string, action = string }))
}
