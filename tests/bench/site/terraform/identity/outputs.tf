# After the policies: an instance or a function that starts before its role has one would be refused.
output "role_arns" {
  value      = { for key, role in aws_iam_role.this : key => role.arn }
  depends_on = [aws_iam_role_policy.this]
}

output "profiles" {
  value      = { for component, profile in aws_iam_instance_profile.this : component => profile.name }
  depends_on = [aws_iam_role_policy.this]
}
