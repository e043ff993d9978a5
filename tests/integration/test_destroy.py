"""An environment goes only when it is meant to, then wholly; what is interrupted is finished by the next run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.tests.integration.environments import (
    ACCOUNT,
    MODELS,
    Environment,
    copied_inventories,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Aws, Playbook

QA, PROD = (Scope("algo-trading", environment) for environment in ("qa", "prod"))
DATA, ARTIFACTS = (QA.name(component, ACCOUNT) for component in ("alpaca_websocket", "mlflow_server"))
MLFLOW = QA.name("mlflow_server")
TAGGING = {
    "cloudwatch:TagResource",
    "ec2:CreateTags",
    "logs:TagResource",
    "rds:AddTagsToResource",
    "route53:ChangeTagsForResource",
    "s3:PutBucketTagging",
    "sns:TagResource",
    "sqs:TagQueue",
    "ssm:AddTagsToResource",
}


@pytest.fixture(scope="module")
def qa(aws: Aws, shared_playbook: Playbook) -> Environment:
    aws.reset()
    environment = Environment(aws, shared_playbook, "qa")
    environment.publish(*MODELS)
    return environment


def lost(aws: Aws) -> None:
    """An unfinished takeover would stop the next run for two minutes; nobody is at it any more."""
    found = aws.client("ssm").get_parameters_by_path(Path=QA.parameter())["Parameters"]
    assert not [parameter for parameter in found if parameter["Name"].endswith("-takeover")]


@pytest.mark.parametrize(
    ("name", "confirm", "said"),
    [
        ("qa", None, "Not confirmed. Nothing was changed."),
        ("qa", "dev", "type its name when asked, or add -e algo_confirm=qa"),
        ("prod", None, "prod is locked against removal. Nothing was changed."),
        ("prod", "prod", "set algo_destroy_locked to false in inventories/prod/group_vars/all/settings.yml"),
    ],
)
def test_removal_is_refused_without_the_right_word(
    aws: Aws, playbook: Playbook, name: str, confirm: str | None, said: str
) -> None:
    aws.reset()
    refused = Environment(aws, playbook, name).destroy(confirm=confirm, fails=True)
    assert said in " ".join(refused.output.split())
    assert refused.asked == Counter()


def test_things_of_others_with_our_names_are_refused_before_anything_is_changed(aws: Aws, playbook: Playbook) -> None:
    aws.reset()
    others = {"Key": "Project", "Value": "another"}
    aws.client("secretsmanager").create_secret(Name=MLFLOW, SecretString="theirs", Tags=[others])
    aws.client("s3").create_bucket(Bucket=DATA)
    # An empty one would be what a run of ours that was cut off has left.
    aws.client("s3").put_object(Bucket=DATA, Key="theirs", Body=b"theirs")
    trust = '{"Version": "2012-10-17", "Statement": []}'
    aws.client("iam").create_role(RoleName=MLFLOW, AssumeRolePolicyDocument=trust)
    qa = Environment(aws, playbook, "qa")
    qa.publish(*MODELS)
    refused = qa(fails=True)
    said = " ".join(refused.output.split())
    for thing in (
        "secret algo-trading-mlflow-server-qa",
        f"S3 bucket {DATA}",
        "IAM role algo-trading-mlflow-server-qa",
    ):
        assert thing in said
    assert "Nothing was changed" in said
    assert refused.writes == Counter()


def test_a_run_that_was_killed_is_finished_by_the_next_one(qa: Environment) -> None:
    """Killed in the network, among the identities and when servers are launched; nothing is made twice."""
    qa.aws.reset()
    qa.publish(*MODELS)
    for after in (6, 35, 60):
        qa.kill(after)
        lost(qa.aws)
    finished = qa()
    assert finished.lines
    assert "Took over /algo-trading/qa/lock" in " ".join(finished.output.split())
    assert qa.models() == sorted(MODELS)
    again = qa.plan()
    assert again.lines == []
    names = Counter(
        tag["Value"]
        for vpc in qa.aws.client("ec2").describe_vpcs()["Vpcs"]
        for tag in vpc.get("Tags", [])
        if tag["Key"] == "Name"
    )
    assert names == Counter({"algo-trading-network-qa": 1})
    addresses = qa.aws.client("ec2").describe_addresses()["Addresses"]
    assert len(addresses) == 1


def test_what_was_made_and_not_yet_tagged_is_finished_by_the_next_run(qa: Environment) -> None:
    """Cut off at every operation that tags in a call of its own: there is a moment in which a thing has no tags."""
    qa.aws.reset()
    qa.publish(*MODELS)
    cut: set[str] = set()
    called: set[str] = set()
    while at := qa.cut_off(*(TAGGING - cut)):
        cut |= at
        called |= set(qa.aws.count(write=True))
        lost(qa.aws)
    called |= set(qa.aws.count(write=True))
    # What else tags in a call of its own belongs in the list.
    assert {name for name in called if "Tag" in name} == cut
    assert cut >= {"route53:ChangeTagsForResource", "s3:PutBucketTagging", "sqs:TagQueue", "cloudwatch:TagResource"}
    assert qa.plan().lines == []
    ec2 = qa.aws.client("ec2")
    assert len(qa.aws.client("route53").list_hosted_zones()["HostedZones"]) == 1
    assert len(ec2.describe_internet_gateways()["InternetGateways"]) == 1
    assert len([vpc for vpc in ec2.describe_vpcs()["Vpcs"] if not vpc["IsDefault"]]) == 1


def test_a_removal_is_planned_without_a_writing_call(qa: Environment) -> None:
    planned = qa.plan(playbook="playbooks/destroy.yml")
    assert set(planned.counts) == {"delete"}
    assert planned.counts["delete"] >= 80
    assert not [line for line in planned.lines if line[1] == "S3 bucket"]
    kinds = [line[1] for line in planned.lines]
    assert kinds.index("instance") < kinds.index("subnet") < kinds.index("VPC")


def test_a_removal_that_was_killed_is_finished_by_the_next_one(qa: Environment) -> None:
    qa.aws.client("s3").put_object(Bucket=ARTIFACTS, Key="run/1/model.bin", Body=b"kept")
    for after in (4, 25):
        qa.kill(after, playbook="playbooks/destroy.yml", algo_confirm="qa")
        lost(qa.aws)
    finished = qa.destroy(confirm="qa")
    assert set(finished.counts) == {"delete"}

    buckets = [f"arn:aws:s3:::{bucket}" for bucket in (DATA, ARTIFACTS)]
    left = qa.tagged()
    assert [arn for arn in left if ":s3:" in arn] == buckets
    assert [arn for arn in left if ":s3:" not in arn and ":snapshot:" not in arn and ":secret:" not in arn] == []
    assert len([arn for arn in left if ":snapshot:" in arn]) == 1
    assert qa.aws.client("s3").get_object(Bucket=ARTIFACTS, Key="run/1/model.bin")["Body"].read() == b"kept"
    assert qa.instances() == []
    for bucket in buckets:
        assert f"Kept: {bucket}" in finished.output


def test_what_is_gone_needs_no_removal(qa: Environment) -> None:
    again = qa.destroy(confirm="qa")
    assert again.lines == []


def test_buckets_go_when_they_are_named(qa: Environment) -> None:
    gone = qa.destroy(confirm="qa", algo_destroy_buckets=[DATA, ARTIFACTS])
    assert {line[2] for line in gone.lines if line[1] == "S3 bucket"} == {DATA, ARTIFACTS}
    buckets = [bucket["Name"] for bucket in qa.aws.client("s3").list_buckets()["Buckets"]]
    # The models are the model team's.
    assert buckets == [qa.bucket]


def test_a_protected_environment_goes_when_it_is_unlocked(aws: Aws, playbook: Playbook, tmp_path: Path) -> None:
    aws.reset()
    unlocked: dict[str, Any] = {"algo_destroy_locked": False}
    prod = Environment(aws, playbook, "prod", copied_inventories(tmp_path / "inventories", prod=unlocked))
    prod.publish(MODELS[0])
    prod("--limit", "aws_network,aws_identity,aws_mlflow_server")
    database = aws.client("rds").describe_db_instances()["DBInstances"][0]
    assert database["DeletionProtection"]
    prod.destroy(confirm="prod", algo_destroy_buckets=[PROD.name("mlflow_server", ACCOUNT)])
    left = [arn for arn in prod.tagged() if ":snapshot:" not in arn and ":secret:" not in arn]
    assert left == []
