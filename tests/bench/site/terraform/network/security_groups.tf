# One group for the endpoints, one for each component's hosts, one for the database. No inbound access from outside.
locals {
  place = "${var.scope.project} in ${var.scope.environment}"
  groups = {
    endpoints        = { name = "${local.name}-endpoints", component = "network", port = 443, from = "Hosts", hosts = false }
    alpaca_websocket = { name = "alpaca-websocket", component = "alpaca_websocket", port = 8765, from = "Trading servers", hosts = true }
    trading_server   = { name = "trading-server", component = "trading_server", port = 0, from = "", hosts = true }
    mlflow_server    = { name = "mlflow-server", component = "mlflow_server", port = 443, from = "Experiments", hosts = true }
    gpu_instance     = { name = "gpu-instance", component = "gpu_instance", port = 0, from = "", hosts = true }
    database         = { name = "database", component = "mlflow_server", port = 5432, from = "MLflow server", hosts = false }
  }
  names = {
    for key, group in local.groups : key => (
      key == "endpoints" ? group.name :
      key == "database" ? "${var.scope.project}-mlflow-server-${var.scope.environment}-database" :
      "${var.scope.project}-${group.name}-${var.scope.environment}"
    )
  }
  outbound = [
    { port = 443, cidr = "0.0.0.0/0", description = "AWS, the broker and packages" },
    { port = 80, cidr = "0.0.0.0/0", description = "AWS, the broker and packages" },
    { port = 8765, cidr = var.cidr, description = "Inside the network" },
    { port = 5432, cidr = var.cidr, description = "Inside the network" },
  ]
}

resource "aws_security_group" "this" {
  for_each    = local.groups
  name        = local.names[each.key]
  description = "${each.key} of ${local.place}"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = local.names[each.key], Component = each.value.component }

  dynamic "ingress" {
    for_each = each.value.port > 0 ? [each.value] : []
    content {
      protocol    = "tcp"
      from_port   = ingress.value.port
      to_port     = ingress.value.port
      cidr_blocks = [var.cidr]
      description = ingress.value.from
    }
  }

  dynamic "egress" {
    for_each = each.value.hosts ? local.outbound : []
    content {
      protocol    = "tcp"
      from_port   = egress.value.port
      to_port     = egress.value.port
      cidr_blocks = [egress.value.cidr]
      description = egress.value.description
    }
  }
}
