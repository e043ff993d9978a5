# Without an instance unless it is enabled, as in inventories/qa; its role, profile and group exist all the same.
module "host" {
  count         = var.enabled ? 1 : 0
  source        = "../host"
  scope         = var.scope
  network       = var.network
  component     = "gpu_instance"
  instance_type = "g6.xlarge"
  volume_size   = 100
  profile       = var.profile
}
