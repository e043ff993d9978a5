"""Buckets, their life-cycle rules and the broker's secret: checked, made, repeated, changed, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.components import ACCOUNT, SCOPE, Roles, lines, one, reasons

if TYPE_CHECKING:
    from conftest import Aws, Playbook

BUCKET = SCOPE.name("alpaca_websocket", ACCOUNT)
RULES = {"aws_bucket_name": BUCKET, "aws_bucket_component": "alpaca_websocket"}


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    return Roles(fresh_aws, playbook, tmp_path)


def test_a_bucket_is_planned_made_repeated_changed_and_removed(roles: Roles) -> None:
    aws = roles.aws
    aws.forget_calls()

    planned = roles("aws_bucket", check=True, **RULES)
    assert not aws.calls(write=True)
    made = roles("aws_bucket", **RULES)
    assert (
        lines(planned)
        == lines(made)
        == [
            ("create", "S3 bucket", BUCKET),
            ("create", "life-cycle rule", f"{BUCKET}/housekeeping"),
        ]
    )
    s3 = aws.client("s3")
    assert s3.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values())
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    assert {statement["Sid"] for statement in policy["Statement"]} == {"TlsOnly", "RecentTlsOnly"}
    tags = {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]}
    assert tags == {
        "Project": "algo-trading",
        "Environment": "qa",
        "Component": "alpaca_websocket",
        "ManagedBy": "algo.trading",
        "Name": BUCKET,
        "Team": "quants",
    }

    aws.forget_calls()
    again = roles("aws_bucket", **RULES)
    assert lines(again) == []
    assert not aws.calls(write=True)

    changed = {
        **RULES,
        "aws_bucket_noncurrent_days": 90,
        "aws_bucket_expirations": [{"id": "old", "prefix": "x/", "days": 9}],
    }
    planned = roles("aws_bucket", check=True, **changed)
    assert lines(planned) == [
        ("update", "life-cycle rule", f"{BUCKET}/housekeeping"),
        ("create", "life-cycle rule", f"{BUCKET}/old"),
    ]
    assert "noncurrent_version_expiration_days: 30 → 90" in reasons(planned)
    assert lines(roles("aws_bucket", **changed)) == lines(planned)
    assert lines(roles("aws_bucket", **changed)) == []
    assert lines(roles("aws_bucket", **RULES)) == [
        ("update", "life-cycle rule", f"{BUCKET}/housekeeping"),
        ("delete", "life-cycle rule", f"{BUCKET}/old"),
    ]

    s3.put_object(Bucket=BUCKET, Key="x/1", Body=b"1")
    s3.delete_object(Bucket=BUCKET, Key="x/1")
    removal = one("amazon.aws.s3_bucket", BUCKET, component="x", state="absent")
    roles(tasks=[removal])
    assert BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert lines(roles(tasks=[removal])) == []


def test_a_drifted_bucket_is_set_back(roles: Roles) -> None:
    roles("aws_bucket", **RULES)
    s3 = roles.aws.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.delete_bucket_policy(Bucket=BUCKET)
    s3.delete_public_access_block(Bucket=BUCKET)
    s3.put_bucket_tagging(
        Bucket=BUCKET,
        Tagging={
            "TagSet": [
                {"Key": "Project", "Value": "algo-trading"},
                {"Key": "Environment", "Value": "qa"},
                {"Key": "ManagedBy", "Value": "algo.trading"},
                {"Key": "Owner", "Value": "somebody"},
            ]
        },
    )

    drift = roles("aws_bucket", check=True, **RULES)
    assert lines(drift) == [("update", "S3 bucket", BUCKET)]
    for part in ("versioning: false → true", "policy.TlsOnly", "block_public_acls: false → true", "tags.Owner"):
        assert part in drift.stdout
    roles("aws_bucket", **RULES)
    assert lines(roles("aws_bucket", **RULES)) == []


def test_a_bucket_gets_a_key_of_its_own(roles: Roles) -> None:
    key = roles.aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    roles("aws_bucket", **RULES)
    changed = roles("aws_bucket", **RULES, aws_bucket_kms_key_id=key)
    assert lines(changed) == [("update", "S3 bucket", BUCKET)]
    assert lines(roles("aws_bucket", **RULES, aws_bucket_kms_key_id=key)) == []


def test_a_bucket_that_a_killed_run_left_without_tags_is_finished(roles: Roles) -> None:
    roles.aws.client("s3").create_bucket(Bucket=BUCKET)
    assert ("update", "S3 bucket", BUCKET) in lines(roles("aws_bucket", **RULES))
    assert lines(roles("aws_bucket", **RULES)) == []


@pytest.mark.parametrize("whose", ["full", "other environment"])
def test_a_bucket_that_is_not_ours_is_refused_and_left_alone(roles: Roles, whose: str) -> None:
    s3 = roles.aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    if whose == "full":
        s3.put_object(Bucket=BUCKET, Key="thesis", Body=b"all of it")
    else:
        s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "Environment", "Value": "prod"}]})
    roles.aws.forget_calls()
    run = roles("aws_bucket", fails=True, **RULES)
    assert run.rc != 0
    assert "does not carry this environment's tags" in run.output
    assert not roles.aws.calls(write=True)


SECRET = SCOPE.name("alpaca_websocket")


def test_the_brokers_keys_survive_every_run_and_a_removal(roles: Roles, tmp_path: Path) -> None:
    roles.prepare_functions(tmp_path / "build")
    aws = roles.aws
    secrets = aws.client("secretsmanager")

    def secret(**more: Any) -> dict[str, Any]:
        return one("community.aws.secretsmanager_secret", SECRET, component="alpaca_websocket", **more)

    def run(**variables: Any) -> Any:
        return roles(tasks=[secret(once={"description": "keys", "json_secret": {"key_id": ""}})], **variables)

    assert lines(run()) == [("create", "secret", SECRET)]
    reminder = roles("aws_alpaca_websocket")
    assert "has no API keys yet" in reminder.stdout

    secrets.put_secret_value(SecretId=SECRET, SecretString='{"key_id": "theirs", "secret_key": "kept"}')
    assert "has no API keys yet" not in roles("aws_alpaca_websocket").stdout
    assert lines(run(algo_tags={"Team": "others"})) == [("update", "secret", SECRET)]
    assert json.loads(secrets.get_secret_value(SecretId=SECRET)["SecretString"])["secret_key"] == "kept"
    assert secrets.describe_secret(SecretId=SECRET)["Description"] == "keys"

    roles(tasks=[secret(state="absent")])
    assert secrets.describe_secret(SecretId=SECRET)["DeletedDate"]
    assert lines(roles(tasks=[secret(state="absent")])) == []
    restored = run(algo_tags={"Team": "others"})
    assert lines(restored) == [("update", "secret", SECRET)]
    assert "is scheduled for deletion, and is restored" in reasons(restored)
    assert json.loads(secrets.get_secret_value(SecretId=SECRET)["SecretString"])["secret_key"] == "kept"
    assert lines(run(algo_tags={"Team": "others"})) == []
