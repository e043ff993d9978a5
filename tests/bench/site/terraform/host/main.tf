# One instance with its DNS record and the log group of its journal.
locals {
  name = "${var.scope.project}-${replace(var.component, "_", "-")}-${var.scope.environment}"
  settings = merge({
    project     = var.scope.project
    environment = var.scope.environment
    component   = var.component
    region      = var.scope.region
  }, var.settings)
}

resource "aws_instance" "this" {
  ami                    = var.scope.image_id
  instance_type          = var.instance_type
  subnet_id              = var.network.private_subnet_ids[0]
  vpc_security_group_ids = [var.network.security_group_ids[var.component]]
  iam_instance_profile   = var.profile
  tags                   = { Name = local.name, Component = var.component }

  user_data = join("\n", ["#cloud-config", jsonencode({
    write_files = [{
      path        = "/etc/algo-trading/environment.json"
      permissions = "0644"
      content     = jsonencode(local.settings)
    }]
  }), ""])

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.volume_size
    encrypted   = true
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/${var.scope.project}/${var.scope.environment}/${var.component}"
  retention_in_days = 90
  tags              = { Component = var.component }
}

resource "aws_route53_record" "this" {
  zone_id = var.network.zone_id
  name    = "${replace(var.component, "_", "-")}.${var.network.dns_zone}"
  type    = "A"
  ttl     = 60
  records = [aws_instance.this.private_ip]
}
