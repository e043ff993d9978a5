# The environment that site.yml provisions, as a Terraform user would write it: a module for each component.
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "testing"
  secret_key                  = "testing"
  s3_use_path_style           = true
  skip_metadata_api_check     = true
  skip_credentials_validation = true

  default_tags {
    tags = {
      Project     = var.project
      Environment = var.environment
      ManagedBy   = "terraform"
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_ssm_parameter" "host_image" {
  name = var.host_image_parameter
}

locals {
  account_id = data.aws_caller_identity.current.account_id
  image_id   = nonsensitive(data.aws_ssm_parameter.host_image.value)
  dns_zone   = "${var.environment}.${var.project}.internal"

  # What every component's module is given.
  scope = {
    project     = var.project
    environment = var.environment
    account_id  = local.account_id
    region      = "us-east-1"
    timezone    = "America/New_York"
    package     = var.package
    image_id    = local.image_id
    # The topic of trading_server_shutdown receives all alerts; its ARN follows from its name.
    alert_topic = "arn:aws:sns:us-east-1:${local.account_id}:${var.project}-trading-server-shutdown-${var.environment}"
  }
}

module "network" {
  source   = "./network"
  scope    = local.scope
  cidr     = var.cidr
  dns_zone = local.dns_zone
}

module "identity" {
  source   = "./identity"
  scope    = local.scope
  policies = var.policies
}

module "alpaca_websocket" {
  source  = "./alpaca_websocket"
  scope   = local.scope
  network = module.network
  roles   = module.identity.role_arns
  profile = module.identity.profiles["alpaca_websocket"]
}

module "trading_server" {
  source       = "./trading_server"
  scope        = local.scope
  network      = module.network
  roles        = module.identity.role_arns
  profile      = module.identity.profiles["trading_server"]
  model_bucket = var.model_bucket
}

module "trading_server_shutdown" {
  source = "./trading_server_shutdown"
  scope  = local.scope
  roles  = module.identity.role_arns
}

module "mlflow_server" {
  source  = "./mlflow_server"
  scope   = local.scope
  network = module.network
  profile = module.identity.profiles["mlflow_server"]
}

module "gpu_instance" {
  source  = "./gpu_instance"
  scope   = local.scope
  network = module.network
  profile = module.identity.profiles["gpu_instance"]
}
