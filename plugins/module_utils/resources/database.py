# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RDS instances and their subnet groups, as amazon.aws manages them. Read by name: RDS cannot search by tag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._aws import unless_missing
from .._components import DATABASES
from .._naming import Scope
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings, States

# ---- subnet group ----


def _read_subnet_groups(clients: Any, scope: Scope) -> Iterable[Found]:
    rds = clients("rds")
    for name in map(scope.name, DATABASES):
        answer = unless_missing(
            rds.describe_db_subnet_groups, "DBSubnetGroupNotFoundFault", "DBSubnetGroupNotFound", DBSubnetGroupName=name
        )
        for group in (answer or {}).get("DBSubnetGroups", ()):
            arn = group["DBSubnetGroupArn"]
            tags = tag_dict(rds.list_tags_for_resource(ResourceName=arn)["TagList"])
            settings = {
                "name": name,
                "description": group["DBSubnetGroupDescription"],
                "subnets": [subnet["SubnetIdentifier"] for subnet in group["Subnets"]],
                "tags": tags,
            }
            yield Found(name, settings, {"name": name, "arn": arn, "state": group.get("SubnetGroupStatus")}, tags)


SUBNET_GROUP = ResourceType(
    module="amazon.aws.rds_subnet_group",
    absent={"DescribeDBSubnetGroups": "DBSubnetGroupNotFoundFault"},
    service="rds",
    title="database subnet group",
    read=_read_subnet_groups,
    compared=frozenset({"name", "description", "subnets", "tags"}),
    write_ids=frozenset({"DBSubnetGroupName"}),
    states=States(healthy=frozenset({"complete"})),
    unordered=frozenset({"subnets"}),
    computed=(),
    attributes=lambda result, arguments: {"name": arguments["name"]},
    # A database that is being deleted, by a run that was cut off, holds on to its group for up to a quarter of an hour.
    retryable_errors=("InvalidDBSubnetGroupStateFault", "still using"),
    retry_attempts=180,
    destroy_order=45,
)


# ---- instance ----

# As the RDS user guide lists them. A database in most of these answers queries; some last for hours.
_STATES = States(
    healthy=frozenset(
        {
            "available",
            "backing-up",
            "configuring-enhanced-monitoring",
            "configuring-iam-database-auth",
            "configuring-log-exports",
            "modifying",
            "resetting-master-credentials",
            "storage-config-upgrade",
            "storage-initialization",
            "storage-optimization",
        }
    ),
    transitional=frozenset(
        {
            "converting-to-vpc",
            "creating",
            "delete-precheck",
            "deleting",
            "maintenance",
            "moving-to-vpc",
            "rebooting",
            "renaming",
            "starting",
            "stopping",
            "upgrading",
        }
    ),
    stopped=frozenset({"stopped"}),
    start="runs do not start it. Start it with: aws rds start-db-instance --db-instance-identifier {name}",
)


def _read_instances(clients: Any, scope: Scope) -> Iterable[Found]:
    rds = clients("rds")
    for name in map(scope.name, DATABASES):
        answer = unless_missing(
            rds.describe_db_instances, "DBInstanceNotFound", "DBInstanceNotFoundFault", DBInstanceIdentifier=name
        )
        for instance in (answer or {}).get("DBInstances", ()):
            yield _instance(name, instance)


def _instance(name: str, instance: Mapping[str, Any]) -> Found:
    # What is to be changed in the next maintenance window counts as changed, as it does for the module.
    instance = {**instance, **(instance.get("PendingModifiedValues") or {})}
    tags = tag_dict(instance.get("TagList"))
    settings: Settings = {
        "db_instance_identifier": name,
        "engine": instance["Engine"],
        "engine_version": instance["EngineVersion"],
        "db_instance_class": instance["DBInstanceClass"],
        "db_name": instance.get("DBName"),
        "master_username": instance["MasterUsername"],
        "allocated_storage": instance["AllocatedStorage"],
        "max_allocated_storage": instance.get("MaxAllocatedStorage"),
        "storage_type": instance.get("StorageType"),
        "storage_encrypted": instance.get("StorageEncrypted", False),
        "kms_key_id": instance.get("KmsKeyId"),
        "db_subnet_group_name": (instance.get("DBSubnetGroup") or {}).get("DBSubnetGroupName"),
        "vpc_security_group_ids": [
            group["VpcSecurityGroupId"]
            for group in instance.get("VpcSecurityGroups") or ()
            if group.get("Status", "active") in {"active", "adding"}
        ],
        "publicly_accessible": instance.get("PubliclyAccessible", False),
        "multi_az": instance.get("MultiAZ", False),
        "backup_retention_period": instance.get("BackupRetentionPeriod"),
        "preferred_backup_window": instance.get("PreferredBackupWindow"),
        "preferred_maintenance_window": instance.get("PreferredMaintenanceWindow"),
        "copy_tags_to_snapshot": instance.get("CopyTagsToSnapshot", False),
        "auto_minor_version_upgrade": instance.get("AutoMinorVersionUpgrade", False),
        "deletion_protection": instance.get("DeletionProtection", False),
        "enable_iam_database_authentication": instance.get("IAMDatabaseAuthenticationEnabled", False),
        "enable_performance_insights": instance.get("PerformanceInsightsEnabled", False),
        "enable_cloudwatch_logs_exports": instance.get("EnabledCloudwatchLogsExports") or [],
        "tags": tags,
    }
    endpoint = instance.get("Endpoint") or {}
    attributes = {
        "id": name,
        "arn": instance["DBInstanceArn"],
        "endpoint": endpoint.get("Address"),
        "port": endpoint.get("Port"),
        "state": instance.get("DBInstanceStatus"),
        "made": str(instance.get("InstanceCreateTime") or ""),
    }
    deletion = "being deleted" if instance.get("DBInstanceStatus") in {"deleting", "deleted"} else ""
    return Found(name, settings, attributes, tags, pending_deletion=deletion)


def _diff_suppress(desired: Settings, found: Mapping[str, Any]) -> Settings:
    """AWS installs minor versions and grows the storage by itself; neither is ever taken back."""
    settled, actual = dict(desired), found["settings"]
    version, installed = str(desired.get("engine_version") or ""), str(actual.get("engine_version") or "")
    if version and _numbers(installed)[: len(_numbers(version))] >= _numbers(version):
        same_major = _numbers(version)[:1] == _numbers(installed)[:1]
        settled["engine_version"] = installed if same_major or found.get("adopted") else version
    size, grown = desired.get("allocated_storage"), actual.get("allocated_storage")
    if (desired.get("max_allocated_storage") or found.get("adopted")) and size and grown:
        settled["allocated_storage"] = max(int(size), int(grown))
    return settled


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _final_snapshot(found: Mapping[str, Any]) -> Settings:
    """Delete with a last snapshot, named after the moment the database was made: once for each, however often tried."""
    made = "".join(character for character in found["attributes"]["made"][:19] if character.isdigit())
    name = f"{found['attributes']['id']}-final-{made}".rstrip("-")
    return {"skip_final_snapshot": False, "final_db_snapshot_identifier": name, "wait": True}


def _attributes(result: Settings, arguments: Settings) -> Settings:
    endpoint = result.get("endpoint") or {}
    return {
        "id": result.get("db_instance_identifier"),
        "arn": result.get("db_instance_arn"),
        "endpoint": endpoint.get("address"),
        "port": endpoint.get("port"),
        "state": result.get("db_instance_status"),
    }


INSTANCE = ResourceType(
    module="amazon.aws.rds_instance",
    absent={"DescribeDBInstances": "DBInstanceNotFound"},
    service="rds",
    title="database",
    read=_read_instances,
    compared=frozenset(
        {
            "db_instance_identifier",
            "engine",
            "engine_version",
            "db_instance_class",
            "db_name",
            "master_username",
            "allocated_storage",
            "max_allocated_storage",
            "storage_type",
            "storage_encrypted",
            "kms_key_id",
            "db_subnet_group_name",
            "vpc_security_group_ids",
            "publicly_accessible",
            "multi_az",
            "backup_retention_period",
            "preferred_backup_window",
            "preferred_maintenance_window",
            "copy_tags_to_snapshot",
            "auto_minor_version_upgrade",
            "deletion_protection",
            "enable_iam_database_authentication",
            "enable_performance_insights",
            "enable_cloudwatch_logs_exports",
            "tags",
        }
    ),
    write_ids=frozenset({"DBInstanceIdentifier"}),
    states=_STATES,
    name_argument="db_instance_identifier",
    force_new=frozenset(
        {"engine", "db_name", "master_username", "storage_encrypted", "kms_key_id", "db_subnet_group_name"}
    ),
    create_only=frozenset({"master_user_password"}),
    steering=frozenset({"allow_major_version_upgrade", "purge_security_groups"}),
    unordered=frozenset({"vpc_security_group_ids", "enable_cloudwatch_logs_exports"}),
    diff_suppress=_diff_suppress,
    protection="deletion_protection",
    computed=("id", "arn", "endpoint", "port"),
    attributes=_attributes,
    delete_arguments=_final_snapshot,
    retryable_errors=("InvalidDBInstanceState",),
    retry_attempts=60,
    destroy_order=30,
)

TYPES = (SUBNET_GROUP, INSTANCE)
