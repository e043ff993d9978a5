output "private_subnet_ids" {
  value = aws_subnet.private[*].id
}

output "zone_id" {
  value = aws_route53_zone.this.zone_id
}

output "dns_zone" {
  value = var.dns_zone
}

output "security_group_ids" {
  value = { for name, group in aws_security_group.this : name => group.id }
}
