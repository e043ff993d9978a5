# One function with its log group, alarm, retries and schedules.
locals {
  name = "${var.scope.project}-${replace(var.component, "_", "-")}-${var.scope.environment}"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${local.name}"
  retention_in_days = 90
  tags              = { Component = var.component }
}

resource "aws_lambda_function" "this" {
  function_name    = local.name
  description      = var.description
  filename         = var.scope.package
  source_code_hash = filebase64sha256(var.scope.package)
  handler          = "trading_day.handlers.${var.component}"
  runtime          = "python3.13"
  architectures    = ["arm64"]
  role             = var.role
  timeout          = var.timeout
  memory_size      = var.memory_size
  tags             = { Component = var.component }

  environment {
    variables = merge({ PROJECT = var.scope.project, ENVIRONMENT = var.scope.environment, CALENDAR = jsonencode({ exchange = "XNYS" }) }, var.variables)
  }

  tracing_config {
    mode = "PassThrough"
  }

  depends_on = [aws_cloudwatch_log_group.this]
}

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 3600

  dynamic "destination_config" {
    for_each = var.dead_letter_arn == "" ? [] : [var.dead_letter_arn]
    content {
      on_failure {
        destination = destination_config.value
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${local.name}-errors"
  alarm_description   = "${local.name} failed. Its log group is /aws/lambda/${local.name}"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = local.name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.scope.alert_topic]
  tags                = { Component = var.component }
}

resource "aws_cloudwatch_metric_alarm" "missing" {
  for_each          = toset([for schedule in values(var.schedules) : schedule.action])
  alarm_name        = "${local.name}-no-${each.key}"
  alarm_description = "${local.name} had no ${each.key} in 25 hours. Its log group is /aws/lambda/${local.name}"
  namespace         = "AlgoTrading"
  metric_name       = "${title(each.key)}Completed"
  dimensions = {
    Project     = var.scope.project
    Environment = var.scope.environment
    Function    = var.component
  }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = 25
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [var.scope.alert_topic]
  tags                = { Component = var.component }
}

resource "aws_scheduler_schedule_group" "this" {
  name = local.name
  tags = { Component = var.component }
}

resource "aws_scheduler_schedule" "this" {
  for_each                     = var.schedules
  name                         = each.key
  group_name                   = aws_scheduler_schedule_group.this.name
  description                  = each.value.description
  schedule_expression          = each.value.expression
  schedule_expression_timezone = var.scope.timezone

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this.arn
    role_arn = var.scheduler_role
    input = jsonencode({
      action         = each.value.action
      environment    = var.scope.environment
      scheduled_time = "<aws.scheduler.scheduled-time>"
    })

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 5
    }

    dynamic "dead_letter_config" {
      for_each = var.dead_letter_arn == "" ? [] : [var.dead_letter_arn]
      content {
        arn = dead_letter_config.value
      }
    }
  }
}
