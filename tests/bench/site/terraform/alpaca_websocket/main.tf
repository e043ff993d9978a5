locals {
  component = "alpaca_websocket"
  name      = "${var.scope.project}-alpaca-websocket-${var.scope.environment}"
}

module "bucket" {
  source    = "../bucket"
  scope     = var.scope
  name      = "${local.name}-${var.scope.account_id}"
  component = local.component
}

resource "aws_secretsmanager_secret" "broker" {
  name                    = local.name
  description             = "API keys of the broker for ${var.scope.project} in ${var.scope.environment}"
  recovery_window_in_days = 0
  tags                    = { Component = local.component }
}

resource "aws_secretsmanager_secret_version" "broker" {
  secret_id     = aws_secretsmanager_secret.broker.id
  secret_string = jsonencode({ key_id = "", secret_key = "" })

  lifecycle {
    ignore_changes = [secret_string]
  }
}

module "host" {
  source        = "../host"
  scope         = var.scope
  network       = var.network
  component     = local.component
  instance_type = "t4g.small"
  profile       = var.profile
  settings      = { data_bucket = module.bucket.name, secret = local.name }
}

module "function" {
  source         = "../function"
  scope          = var.scope
  component      = local.component
  description    = "Starts and stops the market-data server of ${var.scope.environment}"
  role           = var.roles["alpaca_websocket/function"]
  scheduler_role = var.roles["alpaca_websocket/schedules"]
  timeout        = 60
  memory_size    = 256
  schedules = {
    start = {
      description = "Start the market-data server before the open"
      expression  = "cron(45 8 ? * * *)"
      action      = "start"
    }
    stop = {
      description = "Stop the market-data server after the trading servers have shut down"
      expression  = "cron(45 16 ? * * *)"
      action      = "stop"
    }
  }
}
