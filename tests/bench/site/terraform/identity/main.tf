locals {
  services = { hosts = "ec2", function = "lambda", schedules = "scheduler" }
  suffixes = { hosts = "", function = "-lambda", schedules = "-scheduler" }
  owners = {
    hosts     = ["alpaca_websocket", "trading_server", "mlflow_server", "gpu_instance"]
    function  = ["alpaca_websocket", "trading_server", "trading_server_shutdown"]
    schedules = ["alpaca_websocket", "trading_server", "trading_server_shutdown"]
  }
  identities = merge([
    for kind, components in local.owners : {
      for component in components : "${component}/${kind}" => {
        kind      = kind
        component = component
        resource  = "${var.scope.project}-${replace(component, "_", "-")}-${var.scope.environment}"
        name      = "${var.scope.project}-${replace(component, "_", "-")}-${var.scope.environment}${local.suffixes[kind]}"
      }
    }
  ]...)
  # Roles of hosts are assumed by instances of this account only; the others are restricted by condition.
  conditions = {
    for key, identity in local.identities : key => merge(
      identity.kind == "hosts" ? {} : { StringEquals = { "aws:SourceAccount" = var.scope.account_id } },
      identity.kind != "schedules" ? {} : {
        ArnEquals = {
          "aws:SourceArn" = "arn:aws:scheduler:${var.scope.region}:${var.scope.account_id}:schedule-group/${identity.resource}"
        }
      },
    )
  }
}

resource "aws_iam_role" "this" {
  for_each    = local.identities
  name        = each.value.name
  description = "Identity of ${each.value.component}'s ${each.value.kind} in ${var.scope.environment}"
  tags        = { Component = each.value.component }

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [merge(
      {
        Effect    = "Allow"
        Principal = { Service = "${local.services[each.value.kind]}.amazonaws.com" }
        Action    = "sts:AssumeRole"
      },
      length(local.conditions[each.key]) > 0 ? { Condition = local.conditions[each.key] } : {},
    )]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.identities
  name     = each.value.name
  role     = aws_iam_role.this[each.key].name
  policy   = var.policies[each.value.name]
}

resource "aws_iam_instance_profile" "this" {
  for_each = { for component in local.owners.hosts : component => local.identities["${component}/hosts"] }
  name     = each.value.name
  role     = aws_iam_role.this["${each.key}/hosts"].name
  tags     = { Component = each.key }
}
