"""Hosts and the database behind one: checked, made, repeated, changed, replaced, protected, removed."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._naming import dns_name
from ansible_collections.algo.trading.tests.integration.components import ACCOUNT, SCOPE, Roles, lines, one, reasons
from ansible_collections.algo.trading.tests.integration.components.shortage import Shortage

if TYPE_CHECKING:
    from conftest import Aws, Playbook

WEBSOCKET, MLFLOW, GPU = (f"algo-trading-{host}-qa" for host in ("alpaca-websocket", "mlflow-server", "gpu-instance"))
GPU_RECORD = dns_name(SCOPE.project, SCOPE.environment, "gpu_instance")


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    return Roles(fresh_aws, playbook, tmp_path)


def instances(aws: Aws, name: str, *states: str) -> list[dict[str, Any]]:
    filters = [
        {"Name": "tag:Name", "Values": [name]},
        {"Name": "instance-state-name", "Values": list(states or ("pending", "running", "stopped"))},
    ]
    found = aws.client("ec2").describe_instances(Filters=filters)["Reservations"]
    return [instance for reservation in found for instance in reservation["Instances"]]


def address(aws: Aws, zone: str, record: str) -> list[str]:
    records = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return [value["Value"] for found in records if found["Name"] == f"{record}." for value in found["ResourceRecords"]]


def test_the_mlflow_server_is_planned_made_repeated_changed_and_removed(roles: Roles) -> None:
    aws = roles.aws
    aws.forget_calls()
    planned = roles("aws_mlflow_server", check=True)
    assert not aws.calls(write=True)
    made = roles("aws_mlflow_server", flags=("--diff", "-vvv"))
    bucket = SCOPE.name("mlflow_server", ACCOUNT)
    assert (
        lines(planned)
        == lines(made)
        == [
            ("create", "S3 bucket", bucket),
            ("create", "life-cycle rule", f"{bucket}/housekeeping"),
            ("create", "secret", MLFLOW),
            ("create", "database subnet group", MLFLOW),
            ("create", "database", MLFLOW),
            ("create", "instance", MLFLOW),
            ("create", "log group", "/algo-trading/qa/mlflow_server"),
            ("create", "DNS record", "mlflow-server.qa.algo-trading.internal"),
        ]
    )

    value = aws.client("secretsmanager").get_secret_value(SecretId=MLFLOW)["SecretString"]
    secret = json.loads(value)
    passwords = [secret[name] for name in ("password", "admin_password", "flask_secret_key")]
    assert all(re.fullmatch(r"[A-Za-z0-9]{40,64}", password) for password in passwords)
    assert len(set(passwords)) == 3
    everything = made.output + json.dumps(made.plan)
    assert not [password for password in passwords if password in everything]

    database = aws.client("rds").describe_db_instances(DBInstanceIdentifier=MLFLOW)["DBInstances"][0]
    assert database["StorageEncrypted"]
    assert not database["PubliclyAccessible"]
    assert database["BackupRetentionPeriod"] == 7
    assert (
        database["VpcSecurityGroups"][0]["VpcSecurityGroupId"]
        == roles.network["security_group_ids"][f"{MLFLOW}-database"]
    )

    host = instances(aws, MLFLOW)[0]
    assert host["MetadataOptions"]["HttpTokens"] == "required"
    assert host["MetadataOptions"]["InstanceMetadataTags"] == "enabled"
    assert host.get("PublicIpAddress") is None
    volume = aws.client("ec2").describe_volumes(
        Filters=[{"Name": "attachment.instance-id", "Values": [host["InstanceId"]]}]
    )["Volumes"][0]
    assert (volume["Encrypted"], volume["VolumeType"]) == (True, "gp3")
    zone = roles.network["zone_id"]
    assert address(aws, zone, "mlflow-server.qa.algo-trading.internal") == [host["PrivateIpAddress"]]

    aws.forget_calls()
    again = roles("aws_mlflow_server")
    assert lines(again) == []
    assert not aws.calls(write=True)
    assert "secretsmanager:GetSecretValue" not in aws.count()

    changed: dict[str, Any] = {
        "aws_mlflow_server_database_backup_days": 14,
        "aws_mlflow_server_database_multi_az": True,
        "aws_mlflow_server_database_class": "db.t4g.small",
        "algo_tags": {"Team": "others"},
    }
    planned = roles("aws_mlflow_server", check=True, **changed)
    assert ("update", "database", MLFLOW) in lines(planned)
    for reason in ("backup_retention_period: 7 → 14", "multi_az: false → true", "db.t4g.micro → db.t4g.small"):
        assert reason in reasons(planned)
    assert lines(roles("aws_mlflow_server", **changed)) == lines(planned)
    assert lines(roles("aws_mlflow_server", **changed)) == []
    assert aws.client("secretsmanager").get_secret_value(SecretId=MLFLOW)["SecretString"] == value

    # AWS installs a minor version and grows the storage: neither is a reason to change anything.
    aws.client("rds").modify_db_instance(
        DBInstanceIdentifier=MLFLOW, EngineVersion="17.9", AllocatedStorage=40, ApplyImmediately=True
    )
    assert lines(roles("aws_mlflow_server", **changed)) == []

    gone = [
        one(module, MLFLOW, component="mlflow_server", state="absent")
        for module in ("amazon.aws.rds_instance", "amazon.aws.rds_subnet_group")
    ]
    assert [line[0] for line in lines(roles(tasks=gone))] == ["delete", "delete"]
    snapshots = aws.client("rds").describe_db_snapshots()["DBSnapshots"]
    assert [snapshot["DBSnapshotIdentifier"].startswith(f"{MLFLOW}-final-2") for snapshot in snapshots] == [True]
    assert lines(roles(tasks=gone)) == []


def test_what_is_protected_is_neither_replaced_nor_removed(roles: Roles) -> None:
    aws = roles.aws
    host = {
        "aws_host_component": "alpaca_websocket",
        "aws_host_state": "present",
        "aws_host_instance_types": ["t4g.small"],
    }
    roles("aws_host", **host, algo_protect=True)
    first = instances(aws, WEBSOCKET)[0]["InstanceId"]
    bigger = {**host, "aws_host_volume_size": 32}

    refused = roles("aws_host", **bigger, algo_protect=True, fails=True)
    assert refused.rc != 0
    assert "but termination_protection forbids it" in refused.output
    removal = one("amazon.aws.ec2_instance", WEBSOCKET, component="x", state="absent")
    assert "termination_protection forbids its deletion" in roles(tasks=[removal], fails=True).output

    lifted = roles("aws_host", **bigger)
    assert lines(lifted) == [("update", "instance", WEBSOCKET)]
    assert "volumes changes in the next run" in reasons(lifted)
    assert instances(aws, WEBSOCKET)[0]["InstanceId"] == first
    planned = roles("aws_host", **bigger, check=True)
    assert lines(planned)[0] == ("replace", "instance", WEBSOCKET)
    roles("aws_host", **bigger)
    alive = instances(aws, WEBSOCKET)
    assert len(alive) == 1
    assert alive[0]["InstanceId"] != first
    record = dns_name(SCOPE.project, SCOPE.environment, "alpaca_websocket")
    assert address(aws, roles.network["zone_id"], record) == [alive[0]["PrivateIpAddress"]]

    # The trading day stops it; a change of what can be changed leaves it stopped, and a lost launch's twin is removed.
    ec2 = aws.client("ec2")
    ec2.stop_instances(InstanceIds=[alive[0]["InstanceId"]])
    twin_tags = [{"ResourceType": "instance", "Tags": alive[0]["Tags"]}]
    # AWS tells launch times in seconds, and the first one launched stays.
    while int(time.time()) <= alive[0]["LaunchTime"].timestamp():
        time.sleep(0.1)
    ec2.run_instances(
        ImageId=alive[0]["ImageId"], MinCount=1, MaxCount=1, InstanceType="t4g.small", TagSpecifications=twin_tags
    )
    after = roles("aws_host", **bigger, algo_tags={"Team": "others"})
    assert [line[:2] for line in lines(after)] == [
        ("delete", "instance"),
        ("update", "instance"),
        ("update", "log group"),
    ]
    assert [instance["State"]["Name"] for instance in instances(aws, WEBSOCKET)] == ["stopped"]
    assert lines(roles("aws_host", **bigger, algo_tags={"Team": "others"})) == []


@pytest.fixture
def shortage(fresh_aws: Aws) -> Iterator[Shortage]:
    with Shortage(fresh_aws.endpoint) as shortage:
        yield shortage


def test_a_gpu_instance_is_taken_from_where_there_is_one_and_goes_when_switched_off(
    roles: Roles, shortage: Shortage
) -> None:
    aws = roles.aws
    types = ["g6.xlarge", "g5.xlarge"]
    wanted: dict[str, Any] = {"aws_gpu_instance_enabled": True, "aws_gpu_instance_types": types}
    assert lines(roles("aws_gpu_instance")) == []

    shortage.refuse(*types)
    failed = roles("aws_gpu_instance", **wanted, endpoint=shortage.endpoint, fails=True)
    assert failed.rc != 0
    assert "no capacity in any allowed instance type or subnet" in failed.output
    assert failed.output.count("VcpuLimitExceeded") >= 4
    assert instances(aws, GPU) == []

    shortage.refuse("g6.xlarge")
    made = roles("aws_gpu_instance", **wanted, endpoint=shortage.endpoint)
    assert lines(made) == [("create", "instance", GPU), ("create", "DNS record", GPU_RECORD)]
    assert [instance["InstanceType"] for instance in instances(aws, GPU)] == ["g5.xlarge"]
    # The second best is good enough, also when the best can be had again.
    assert lines(roles("aws_gpu_instance", **wanted)) == []

    off = roles("aws_gpu_instance")
    assert lines(off) == [("delete", "instance", GPU), ("delete", "DNS record", GPU_RECORD)]
    assert instances(aws, GPU) == []
    assert lines(roles("aws_gpu_instance")) == []
