variable "project" {
  type    = string
  default = "algo-trading"
}

variable "environment" {
  type = string
}

variable "cidr" {
  type = string
}

variable "model_bucket" {
  description = "Only read, as in the other contestant: the models were published before."
  type        = string
}

variable "host_image_parameter" {
  description = "Public parameter that names the hosts' image."
  type        = string
}

variable "package" {
  description = "The functions' zip file, the one that the other contestant deploys."
  type        = string
}

variable "policies" {
  description = "The inline policy of each role, by the role's name; the documents of the other contestant."
  type        = map(string)
}
