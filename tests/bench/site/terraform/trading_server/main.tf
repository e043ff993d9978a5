locals {
  component = "trading_server"
  name      = "${var.scope.project}-trading-server-${var.scope.environment}"
  halt      = "/${var.scope.project}/${var.scope.environment}/halt"
  log_group = "/${var.scope.project}/${var.scope.environment}/trading_server"

  configuration = {
    project        = var.scope.project
    environment    = var.scope.environment
    region         = var.scope.region
    timezone       = var.scope.timezone
    algo_modeling  = "2.0.0"
    feed_url       = "ws://alpaca-websocket.${var.network.dns_zone}:8765/v2/iex"
    broker_secret  = "${var.scope.project}-alpaca-websocket-${var.scope.environment}"
    halt_parameter = local.halt
    log_group      = local.log_group
  }
  user_data = join("\n", ["#cloud-config", jsonencode({
    write_files = [{
      path        = "/etc/algo-trading/fleet.json"
      permissions = "0644"
      content     = jsonencode(local.configuration)
    }]
  }), ""])

  # models/<type>/<symbol>/<model>-outer_X_inner_Y/…, in the order of the listing.
  pattern = "^models/([^/]+)/([^/]+)/(.+)-outer_([0-9]+)_inner_([0-9]+)/model\\.json$"
  parsed  = [for key in data.aws_s3_objects.models.keys : regex(local.pattern, key) if can(regex(local.pattern, key))]
  models = {
    for index, part in local.parsed : "${part[0]}/${part[1]}/${part[2]}-outer_${part[3]}_inner_${part[4]}" => {
      type = part[0], symbol = part[1], name = part[2], outer = part[3], inner = part[4], index = index
    }
  }
}

data "aws_s3_objects" "models" {
  bucket   = var.model_bucket
  prefix   = "models/"
  max_keys = 100000
}

resource "aws_ssm_parameter" "halt" {
  name        = local.halt
  type        = "String"
  description = "Whether trading is halted in ${var.scope.environment}"
  value       = "false"
  tags        = { Component = local.component }

  lifecycle {
    ignore_changes = [value]
  }
}

resource "aws_ssm_parameter" "fleet" {
  name        = "/${var.scope.project}/${var.scope.environment}/trading_server/fleet"
  type        = "String"
  description = "Settings of the fleet"
  tags        = { Component = local.component }
  value = jsonencode({
    image_id           = var.scope.image_id
    instance_types     = ["t4g.small", "t4g.medium"]
    subnet_ids         = var.network.private_subnet_ids
    security_group_ids = [var.network.security_group_ids["trading_server"]]
    configuration      = local.configuration
  })
}

resource "aws_cloudwatch_log_group" "hosts" {
  name              = local.log_group
  retention_in_days = 90
  tags              = { Component = local.component }
}

module "function" {
  source         = "../function"
  scope          = var.scope
  component      = local.component
  description    = "Starts the trading servers of ${var.scope.environment} and reconciles them with the models"
  role           = var.roles["trading_server/function"]
  scheduler_role = var.roles["trading_server/schedules"]
  timeout        = 900
  memory_size    = 512
  schedules = {
    start = {
      description = "Start the trading servers before the open"
      expression  = "cron(0 9 ? * * *)"
      action      = "start"
    }
    check = {
      description = "Check before the open that every trading server trades"
      expression  = "cron(20 9 ? * * *)"
      action      = "check"
    }
  }
}

resource "aws_ssm_document" "status" {
  name            = "${local.name}-status"
  document_type   = "Command"
  document_format = "JSON"
  tags            = { Component = local.component }
  content = jsonencode({
    schemaVersion = "2.2"
    description   = "Tell whether a trading server of ${var.scope.project} in ${var.scope.environment} trades"
    mainSteps = [{
      name         = "status"
      action       = "aws:runShellScript"
      precondition = { StringEquals = ["platformType", "Linux"] }
      inputs = {
        timeoutSeconds = "30"
        runCommand = [
          "if [ -x /usr/local/bin/algo-host ]; then exec /usr/local/bin/algo-host status; fi",
          "echo 'no trader is installed on this host'; exit 1",
        ]
      }
    }]
  })
}

# One server for each model.
resource "aws_instance" "this" {
  for_each               = local.models
  ami                    = var.scope.image_id
  instance_type          = "t4g.small"
  subnet_id              = element(var.network.private_subnet_ids, each.value.index)
  vpc_security_group_ids = [var.network.security_group_ids["trading_server"]]
  iam_instance_profile   = var.profile
  user_data              = local.user_data

  tags = {
    Name      = "${local.name}-${replace(each.key, "/", "-")}"
    Component = local.component
    Model     = each.key
    ModelType = each.value.type
    ModelName = each.value.name
    ModelUri  = "s3://${var.model_bucket}/models/${each.key}/"
    Symbol    = each.value.symbol
    Outer     = each.value.outer
    Inner     = each.value.inner
  }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 16
    encrypted   = true
  }
}
