data "aws_availability_zones" "available" {
  state = "available"
}

locals {
  name     = "${var.scope.project}-network-${var.scope.environment}"
  zones    = slice(data.aws_availability_zones.available.names, 0, 2)
  suffixes = ["a", "b"]
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = local.name, Component = "network" }
}

resource "aws_subnet" "private" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.this.id
  cidr_block        = cidrsubnet(var.cidr, 3, count.index)
  availability_zone = local.zones[count.index]
  tags              = { Name = "${local.name}-private-${local.suffixes[count.index]}", Component = "network" }
}

resource "aws_subnet" "public" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.this.id
  cidr_block        = cidrsubnet(var.cidr, 8, 224 + count.index)
  availability_zone = local.zones[count.index]
  tags              = { Name = "${local.name}-public-${local.suffixes[count.index]}", Component = "network" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = local.name, Component = "network" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-public", Component = "network" }

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.this.id
  }
}

resource "aws_route_table_association" "public" {
  count          = length(aws_subnet.public)
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  domain = "vpc"
  tags   = { Name = "${local.name}-nat-0", Component = "network" }
}

resource "aws_nat_gateway" "this" {
  subnet_id     = aws_subnet.public[0].id
  allocation_id = aws_eip.nat.id
  tags          = { Name = "${local.name}-0", Component = "network" }
}

resource "aws_route_table" "private" {
  count  = length(aws_subnet.private)
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${local.name}-private-${count.index}", Component = "network" }

  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.this.id
  }
}

resource "aws_route_table_association" "private" {
  count          = length(aws_subnet.private)
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.scope.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = concat(aws_route_table.private[*].id, [aws_route_table.public.id])
  tags              = { Name = "${local.name}-s3", Component = "network" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each           = toset(["ssm", "ssmmessages", "ec2messages"])
  vpc_id             = aws_vpc.this.id
  service_name       = "com.amazonaws.${var.scope.region}.${each.key}"
  vpc_endpoint_type  = "Interface"
  subnet_ids         = aws_subnet.private[*].id
  security_group_ids = [aws_security_group.this["endpoints"].id]
  tags               = { Name = "${local.name}-${each.key}", Component = "network" }
}

resource "aws_route53_zone" "this" {
  name    = var.dns_zone
  comment = "Names of ${var.scope.project}'s hosts in ${var.scope.environment}"
  tags    = { Component = "network" }

  vpc {
    vpc_id = aws_vpc.this.id
  }
}
