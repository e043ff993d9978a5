"""Every argument that a plan compares, of every kind of resource: planned, made, and then as wanted for good."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES
from ansible_collections.algo.trading.tests.integration.components import ACCOUNT, SCOPE, Roles, lines, one, reasons

if TYPE_CHECKING:
    from conftest import Aws, Playbook

NETWORK, MLFLOW, WEBSOCKET, SHUTDOWN = (
    SCOPE.name(component) for component in ("network", "mlflow_server", "alpaca_websocket", "trading_server_shutdown")
)
TOLD = SCOPE.name("trading_server", "new-models")
BUCKET = "algo-model-deploy"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/6b1a9c1e-0d6a-4c57-9d2b-0f3f3c1a2b3c"
DOCUMENT: dict[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [{"Sid": "A", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
}
# What the embedded AWS does not tell back as it was given, or what excludes another argument that is tried.
UNTRIED: dict[str, set[str]] = {
    "amazon.aws.lambda": {"dead_letter_arn", "kms_key_arn", "vpc_subnet_ids", "vpc_security_group_ids"},
    "amazon.aws.rds_instance": {"enable_cloudwatch_logs_exports", "enable_performance_insights"},
    "community.aws.s3_lifecycle": {"noncurrent_version_keep_newer"},
    "amazon.aws.cloudwatch_metric_alarm": {"unit", "insufficient_data_actions", "ok_actions"},
    "community.aws.sqs_queue": {"kms_data_key_reuse_period_seconds"},
    "algo.trading.scheduler_schedule": {"kms_key_arn"},
}

Task = tuple[str, str, dict[str, Any], dict[str, Any]]


def tasks(roles: Roles, package: Path) -> list[Task]:
    """Module, name, settings and more of each resource; ``${rN.…}`` refers to the one with that number."""
    vpc, subnets = roles.network["vpc_id"], roles.network["private_subnet_ids"]
    group, zone = roles.network["security_group_ids"][MLFLOW], roles.network["zone_id"]
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "T", "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    role = f"arn:aws:iam::{ACCOUNT}:role/{MLFLOW}"
    queue = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{SHUTDOWN}"
    topic = f"arn:aws:sns:us-east-1:{ACCOUNT}:{SHUTDOWN}"
    return [
        (
            "amazon.aws.ec2_vpc_net",
            NETWORK,
            {"cidr_block": ["10.9.0.0/16"], "dns_support": True, "dns_hostnames": True},
            {},
        ),
        (
            "amazon.aws.ec2_vpc_subnet",
            NETWORK,
            {"vpc_id": vpc, "cidr": "10.1.9.0/24", "az": "us-east-1a", "map_public": True},
            {},
        ),
        ("amazon.aws.ec2_vpc_igw", NETWORK, {"vpc_id": vpc}, {}),
        ("amazon.aws.ec2_eip", NETWORK, {"in_vpc": True}, {}),
        (
            "amazon.aws.ec2_vpc_nat_gateway",
            NETWORK,
            {"subnet_id": subnets[0], "allocation_id": "${r3.allocation_id}", "wait": True},
            {},
        ),
        (
            "amazon.aws.ec2_vpc_route_table",
            NETWORK,
            {
                "vpc_id": vpc,
                "subnets": subnets,
                "routes": [{"dest": "0.0.0.0/0", "gateway_id": "${r4.id}"}],
            },
            {},
        ),
        (
            "amazon.aws.ec2_vpc_endpoint",
            f"{NETWORK}-s3",
            {
                "vpc_id": vpc,
                "service": "com.amazonaws.us-east-1.s3",
                "vpc_endpoint_type": "Gateway",
                "route_table_ids": ["${r5.id}"],
            },
            {},
        ),
        (
            "amazon.aws.ec2_vpc_endpoint",
            f"{NETWORK}-ssm",
            {
                "vpc_id": vpc,
                "service": "com.amazonaws.us-east-1.ssm",
                "vpc_endpoint_type": "Interface",
                "vpc_endpoint_subnets": subnets,
                "vpc_endpoint_security_groups": [group],
            },
            {},
        ),
        (
            "amazon.aws.ec2_security_group",
            NETWORK,
            {
                "description": "A group",
                "vpc_id": vpc,
                "rules": [{"proto": "tcp", "ports": [443], "cidr_ip": "10.1.0.0/16", "rule_desc": "In"}],
                "rules_egress": [{"proto": "tcp", "ports": [80, 443], "cidr_ip": "0.0.0.0/0", "rule_desc": "Out"}],
            },
            {},
        ),
        (
            "amazon.aws.route53",
            "x.qa.algo-trading.internal",
            {"hosted_zone_id": zone, "type": "A", "ttl": 60, "value": ["10.1.0.9"]},
            {},
        ),
        (
            "amazon.aws.iam_role",
            MLFLOW,
            {
                "description": "A role",
                "assume_role_policy_document": trust,
                "boundary": "arn:aws:iam::aws:policy/ReadOnlyAccess",
                "managed_policies": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"],
            },
            {},
        ),
        (
            "amazon.aws.iam_policy",
            MLFLOW,
            {"iam_type": "role", "iam_name": MLFLOW, "policy_name": MLFLOW, "policy_json": DOCUMENT},
            {},
        ),
        ("amazon.aws.iam_instance_profile", SCOPE.name("trading_server"), {"role": MLFLOW}, {}),
        (
            "amazon.aws.s3_bucket",
            BUCKET,
            {
                "versioning": True,
                "encryption": "aws:kms",
                "encryption_key_id": KEY,
                "bucket_key_enabled": True,
                "object_ownership": "BucketOwnerEnforced",
                "public_access": {
                    "block_public_acls": True,
                    "ignore_public_acls": True,
                    "block_public_policy": True,
                    "restrict_public_buckets": True,
                },
                "policy": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {
                            "Sid": "TlsOnly",
                            "Effect": "Deny",
                            "Principal": "*",
                            "Action": "s3:*",
                            "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
                            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                        }
                    ],
                },
            },
            {},
        ),
        (
            "community.aws.s3_lifecycle",
            f"{BUCKET}/rule",
            {
                "name": BUCKET,
                "rule_id": "rule",
                "status": "enabled",
                "prefix": "old/",
                "abort_incomplete_multipart_upload_days": 7,
                "expiration_days": 400,
                "noncurrent_version_expiration_days": 90,
                "transitions": [{"transition_days": 60, "storage_class": "glacier"}],
                "noncurrent_version_transitions": [{"transition_days": 40, "storage_class": "standard_ia"}],
            },
            {},
        ),
        (
            "community.aws.s3_lifecycle",
            f"{BUCKET}/markers",
            {"name": BUCKET, "rule_id": "markers", "expire_object_delete_marker": True},
            {},
        ),
        (
            "community.aws.secretsmanager_secret",
            MLFLOW,
            {"kms_key_id": KEY},
            {"once": {"description": "A secret", "json_secret": {"a": ""}}},
        ),
        ("amazon.aws.rds_subnet_group", MLFLOW, {"description": "Subnets", "subnets": subnets}, {}),
        (
            "amazon.aws.rds_instance",
            MLFLOW,
            {
                "engine": "postgres",
                "engine_version": "17",
                "db_instance_class": "db.t4g.micro",
                "db_name": "mlflow",
                "master_username": "mlflow",
                "allocated_storage": 20,
                "max_allocated_storage": 100,
                "storage_type": "gp3",
                "storage_encrypted": True,
                "kms_key_id": KEY,
                "db_subnet_group_name": MLFLOW,
                "vpc_security_group_ids": [group],
                "publicly_accessible": False,
                "multi_az": True,
                "backup_retention_period": 3,
                "preferred_backup_window": "06:00-06:30",
                "preferred_maintenance_window": "sun:07:00-sun:07:30",
                "copy_tags_to_snapshot": True,
                "auto_minor_version_upgrade": True,
                "deletion_protection": True,
                "enable_iam_database_authentication": True,
            },
            {"once": {"master_user_password": "not-a-secret-1", "iops": 3000, "storage_throughput": 125}},
        ),
        (
            "amazon.aws.ec2_instance",
            MLFLOW,
            {
                "image_id": roles.variables["images"]["host"],
                "instance_type": "t4g.small",
                "vpc_subnet_id": subnets[0],
                "security_groups": [group],
                "iam_instance_profile": MLFLOW,
                "metadata_options": {"http_tokens": "required", "instance_metadata_tags": "enabled"},
                "volumes": [
                    {
                        "device_name": "/dev/xvda",
                        "ebs": {
                            "volume_type": "gp3",
                            "volume_size": 16,
                            "encrypted": True,
                            "delete_on_termination": True,
                        },
                    }
                ],
                "user_data": "#cloud-config\n",
                "termination_protection": True,
            },
            {},
        ),
        (
            "amazon.aws.lambda",
            WEBSOCKET,
            {
                "description": "A function",
                "zip_file": str(package),
                "handler": "a.handler",
                "runtime": "python3.13",
                "architecture": "arm64",
                "role": role,
                "timeout": 60,
                "memory_size": 256,
                "environment_variables": {"A": "b"},
                "tracing_mode": "PassThrough",
            },
            {},
        ),
        (
            "algo.trading.lambda_event_invoke_config",
            WEBSOCKET,
            {
                "maximum_retry_attempts": 1,
                "maximum_event_age_in_seconds": 600,
                "on_failure": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{SHUTDOWN}",
                "on_success": "",
            },
            {},
        ),
        (
            "community.aws.sqs_queue",
            SHUTDOWN,
            {
                "queue_type": "standard",
                "visibility_timeout": 40,
                "message_retention_period": 1209600,
                "maximum_message_size": 1024,
                "delay_seconds": 5,
                "receive_message_wait_time_seconds": 10,
                "kms_master_key_id": "alias/aws/sqs",
                "policy": {**DOCUMENT, "Statement": [{**DOCUMENT["Statement"][0], "Principal": "*"}]},
            },
            {},
        ),
        (
            "community.aws.sns_topic",
            SHUTDOWN,
            {
                "topic_type": "standard",
                "display_name": "Alerts",
                "policy": {**DOCUMENT, "Statement": [{**DOCUMENT["Statement"][0], "Principal": "*"}]},
                "subscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}],
            },
            {},
        ),
        ("amazon.aws.cloudwatchlogs_log_group", f"/aws/lambda/{WEBSOCKET}", {"retention": 30, "kms_key_id": KEY}, {}),
        (
            "amazon.aws.cloudwatch_metric_alarm",
            f"{WEBSOCKET}-errors",
            {
                "description": "Errors",
                "namespace": "AWS/Lambda",
                "metric_name": "Errors",
                "dimensions": {"FunctionName": WEBSOCKET},
                "statistic": "Sum",
                "period": 300,
                "evaluation_periods": 2,
                "datapoints_to_alarm": 1,
                "comparison": "GreaterThanOrEqualToThreshold",
                "threshold": 1,
                "treat_missing_data": "notBreaching",
                "alarm_actions": [topic],
            },
            {},
        ),
        (
            "algo.trading.cloudwatch_dashboard",
            SCOPE.name("trading_server_shutdown", "day"),
            {"body": {"widgets": [{"type": "text", "width": 6, "height": 2, "properties": {"markdown": "# Day"}}]}},
            {},
        ),
        (
            "community.aws.ssm_parameter",
            SCOPE.parameter("a"),
            {"string_type": "String", "tier": "Standard", "description": "A parameter", "value": '{"a": 1}'},
            {},
        ),
        (
            "algo.trading.ssm_document",
            SCOPE.name("trading_server", "drain"),
            {
                "document_type": "Command",
                "content": {
                    "schemaVersion": "2.2",
                    "description": "Nothing",
                    "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}],
                },
            },
            {},
        ),
        ("algo.trading.scheduler_schedule_group", WEBSOCKET, {}, {}),
        (
            "algo.trading.scheduler_schedule",
            f"{WEBSOCKET}/start",
            {
                "name": "start",
                "group_name": WEBSOCKET,
                "description": "Start",
                "enabled": True,
                "schedule_expression": "cron(0 9 ? * MON-FRI *)",
                "schedule_expression_timezone": "America/New_York",
                "flexible_time_window": {"mode": "OFF"},
                "action_after_completion": "NONE",
                "target": {
                    "arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{WEBSOCKET}",
                    "role_arn": role,
                    "input": {"action": "start"},
                    "retry_policy": {"maximum_event_age_in_seconds": 900, "maximum_retry_attempts": 5},
                },
            },
            {},
        ),
        ("community.aws.sqs_queue", TOLD, {"redrive_policy": {"deadLetterTargetArn": queue, "maxReceiveCount": 5}}, {}),
        (
            "amazon.aws.lambda_event",
            TOLD,
            {
                "lambda_function_arn": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{WEBSOCKET}",
                "event_source": "sqs",
                "source_params": {
                    "source_arn": queue.replace(SHUTDOWN, TOLD),
                    "enabled": True,
                    "batch_size": 1000,
                    "maximum_batching_window_in_seconds": 60,
                },
            },
            {},
        ),
        (
            "community.aws.s3_bucket_notification",
            TOLD,
            {
                "bucket_name": BUCKET,
                "queue_arn": queue.replace(SHUTDOWN, TOLD),
                "events": ["s3:ObjectRemoved:*", "s3:ObjectCreated:*"],
                "prefix": "models/",
                "suffix": ".json",
            },
            {},
        ),
    ]


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    return Roles(fresh_aws, playbook, tmp_path)


def test_every_compared_argument_is_planned_made_and_then_up_to_date(roles: Roles, tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.py", "def handler(event, context):\n    return None\n")
    package.write_bytes(content.getvalue())
    wanted = tasks(roles, package)

    # The private zone is the network's, made beforehand; its arguments are in the test of the whole site.
    tried: dict[str, set[str]] = {"amazon.aws.route53_zone": set(TYPES["amazon.aws.route53_zone"].compared)}
    for module, _name, settings, _more in wanted:
        kind = TYPES[module]
        named = {kind.name_argument, "tags"} if kind.tagged else {kind.name_argument}
        tried.setdefault(module, set()).update(settings, named)
    untried = {module: kind.compared - tried.get(module, set()) for module, kind in TYPES.items()}
    assert {module: names for module, names in untried.items() if names} == UNTRIED

    entries = [
        # Hosts are looked for among the components that have one.
        {"id": f"r{number}", "module": module, "name": name, "component": "mlflow_server", "settings": settings}
        # Names lead from one to the other here, where roles would refer.
        | {"needs": [f"r{number - 1}"] if number else []}
        | more
        for number, (module, name, settings, more) in enumerate(wanted)
    ]
    play = [{"algo.trading.resources": {"resources": entries}}]
    planned = roles(tasks=play, check=True)
    assert [line[0] for line in lines(planned)] == ["create"] * len(entries)
    assert lines(roles(tasks=play)) == lines(planned)
    again = roles(tasks=play)
    assert reasons(again) == ""
    assert lines(again) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"versionning": True}, "versionning is not an argument of amazon.aws.s3_bucket. Did you mean versioning?"),
        ({"requester_pays": True}, "requester_pays cannot be compared"),
    ],
)
def test_a_wrong_argument_fails_in_the_plan(roles: Roles, settings: dict[str, Any], expected: str) -> None:
    task = one("amazon.aws.s3_bucket", BUCKET, component="x", settings=settings)
    planned = roles(tasks=[task], check=True, fails=True)
    assert planned.rc != 0
    assert expected in " ".join(planned.output.split())
    assert json.dumps(planned.plan["counts"]).count("1") == 0
