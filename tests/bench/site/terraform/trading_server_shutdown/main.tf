locals {
  component = "trading_server_shutdown"
  name      = "${var.scope.project}-trading-server-shutdown-${var.scope.environment}"
  drain     = "${var.scope.project}-trading-server-${var.scope.environment}-drain"
}

resource "aws_sns_topic" "alerts" {
  name         = local.name
  display_name = "${var.scope.project} ${var.scope.environment}"
  tags         = { Component = local.component }
}

resource "aws_sns_topic_policy" "alerts" {
  arn = aws_sns_topic.alerts.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Alarms"
        Effect    = "Allow"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Condition = {
          ArnLike = {
            "aws:SourceArn" = "arn:aws:cloudwatch:${var.scope.region}:${var.scope.account_id}:alarm:${var.scope.project}-*"
          }
          StringEquals = { "aws:SourceAccount" = var.scope.account_id }
        }
      },
      {
        Sid       = "EncryptedOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sns:Publish"
        Resource  = aws_sns_topic.alerts.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = local.name
  message_retention_seconds = 1209600
  kms_master_key_id         = "alias/aws/sqs"
  tags                      = { Component = local.component }
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.url
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EncryptedOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "sqs:*"
      Resource  = aws_sqs_queue.dead_letters.arn
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
}

resource "aws_cloudwatch_metric_alarm" "left_running" {
  alarm_name          = "${local.name}-left-running"
  alarm_description   = "Trading servers were not drained and are still running; see the log of ${local.name}"
  namespace           = "AlgoTrading"
  metric_name         = "HostsLeftRunning"
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
  tags                = { Component = local.component }

  dimensions = {
    Project     = var.scope.project
    Environment = var.scope.environment
    Function    = local.component
  }
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${local.name}-dead-letters"
  alarm_description   = "Invocations of ${local.name} failed finally; see its dead-letter queue"
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = local.name }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alerts.arn]
  tags                = { Component = local.component }
}

# Shorter than ours: a dashboard is one call, whatever it shows.
resource "aws_cloudwatch_dashboard" "day" {
  dashboard_name = "${local.name}-day"
  dashboard_body = jsonencode({
    widgets = [{
      type   = "alarm"
      width  = 24
      height = 4
      properties = {
        title  = "Alarms"
        alarms = [aws_cloudwatch_metric_alarm.left_running.arn, aws_cloudwatch_metric_alarm.dead_letters.arn]
      }
    }]
  })
}

resource "aws_ssm_document" "drain" {
  name            = local.drain
  document_type   = "Command"
  document_format = "JSON"
  tags            = { Component = local.component }
  content = jsonencode({
    schemaVersion = "2.2"
    description   = "Drain a trading server of ${var.scope.project} in ${var.scope.environment}, and confirm that it is drained"
    mainSteps = [{
      name         = "drain"
      action       = "aws:runShellScript"
      precondition = { StringEquals = ["platformType", "Linux"] }
      inputs = {
        timeoutSeconds = "300"
        runCommand = [
          "set -u",
          "if [ -x /usr/local/bin/algo-host ]; then exec /usr/local/bin/algo-host drain; fi",
          "if systemctl cat algo-trader.service > /dev/null 2>&1; then echo 'Not drained, algo-host is missing. Run the role trading_server.'; exit 1; fi",
          "echo 'nothing to drain: no trader is installed on this host'",
        ]
      }
    }]
  })
}

module "function" {
  source          = "../function"
  scope           = var.scope
  component       = local.component
  description     = "Drains and stops the trading servers of ${var.scope.environment}"
  role            = var.roles["trading_server_shutdown/function"]
  scheduler_role  = var.roles["trading_server_shutdown/schedules"]
  timeout         = 900
  memory_size     = 512
  dead_letter_arn = aws_sqs_queue.dead_letters.arn
  variables = {
    ALERT_TOPIC_ARN  = aws_sns_topic.alerts.arn
    DRAIN_DOCUMENT   = aws_ssm_document.drain.name
    DRAIN_TIMEOUT    = "300"
    DRAIN_ATTEMPTS   = "2"
    ON_DRAIN_FAILURE = "keep"
  }
  schedules = {
    shutdown-early = {
      description = "Drain and stop the trading servers after an early close"
      expression  = "cron(10 13 ? * * *)"
      action      = "stop"
    }
    shutdown = {
      description = "Drain and stop the trading servers after the close"
      expression  = "cron(10 16 ? * * *)"
      action      = "stop"
    }
  }
}
