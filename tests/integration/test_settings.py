"""Wrong settings, one by one: each is refused with what is wrong, where it stands and what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.environments import (
    ROOT,
    Environment,
    Outcome,
    copied_inventories,
)

if TYPE_CHECKING:
    from conftest import Aws, Playbook

IMAGES = {"host": "/aws/service/debian/release/12/latest/arm64", "gpu": "/aws/service/some/gpu/image"}
RELEASE: dict[str, Any] = {"images": IMAGES, "algo_modeling": "0.1.0", "mlflow": "3.14.0"}

# What is written into qa's settings.yml, and what the message must say.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a setting that does not exist": (
        {"aws_network_nats": "single"},
        ["aws_network_nats: is not a known setting", "Did you mean aws_network_nat?"],
    ),
    "a setting like no other": ({"algo_colour": "red"}, ["algo_colour: is not a known setting", "docs/settings.md"]),
    "another environment's addresses": (
        {"aws_network_cidr": "10.20.128.0/17"},
        ["aws_network_cidr: 10.20.128.0/17 overlaps 10.20.0.0/16 of dev", "Choose another range"],
    ),
    "too small a network": (
        {"aws_network_cidr": "10.30.0.0/24"},
        ["aws_network_cidr: 10.30.0.0/24 is a /24", "/16 to a /20"],
    ),
    "a public network": (
        {"aws_network_cidr": "8.8.0.0/16"},
        ["aws_network_cidr: 8.8.0.0/16 is not a private range", "10.0.0.0/8"],
    ),
    "no network at all": ({"aws_network_cidr": "ten"}, ["aws_network_cidr:", "'ten'", "such as 10.30.0.0/16"]),
    "no instance type": (
        {"aws_mlflow_server_instance_type": "t4g-small"},
        ["aws_mlflow_server_instance_type: 't4g-small' is not a valid instance type", "Examples: t4g.small"],
    ),
    "no instance type among several": (
        {"aws_trading_server_instance_types": ["t4g.small", "huge"]},
        ["aws_trading_server_instance_types: 'huge' is not a valid instance type"],
    ),
    "another environment's bucket": (
        {"algo_model_bucket": "algo-model-deploy-prod"},
        ["algo_model_bucket: algo-model-deploy-prod is already used by prod", "qa needs its own"],
    ),
    "no bucket name": (
        {"algo_model_bucket": "Algo_Models"},
        ["algo_model_bucket: 'Algo_Models' is not a valid bucket name", "Use 3 to 63 of a-z"],
    ),
    "a region of others": (
        {"algo_region": "eu-west-1"},
        ["algo_region: eu-west-1 is not a region of qa", "us-east-1", "add it to algo_regions"],
    ),
    "no account": (
        {"algo_account_id": "12345"},
        ["algo_account_id: '12345' is not a valid AWS account id", "12 digits"],
    ),
    "a type that is wrong": ({"algo_schedules": "sometimes"}, ["algo_schedules:", "bool"]),
    "a value that is not offered": (
        {"aws_network_nat": "several"},
        ["aws_network_nat: must be one of: none, single, per_zone", "several"],
    ),
    "a wrong type within a dictionary": (
        {"algo_release": {**RELEASE, "images": "ami-0123456789abcdef0"}},
        ["algo_release:", "images", "dict"],
    ),
    "a missing value within a dictionary": (
        {"algo_release": {**RELEASE, "images": {"host": IMAGES["host"]}}},
        ["algo_release:", "missing required arguments: gpu", "images"],
    ),
    "no image": (
        {"algo_release": {**RELEASE, "images": {**IMAGES, "host": "debian-12"}}},
        ["algo_release.images.host: 'debian-12' is neither an image id (ami-…) nor a public SSM parameter path"],
    ),
    "a time zone that no exchange has": (
        {"algo_timezone": "Mars/Olympus"},
        ["algo_timezone: 'Mars/Olympus' is not a valid time zone", "America/New_York"],
    ),
    "no schedule": (
        {"aws_trading_server_schedule": "every morning"},
        ["aws_trading_server_schedule: 'every morning' is not a valid schedule", "cron("],
    ),
    "a retention that CloudWatch does not know": (
        {"aws_trading_server_log_retention": 77},
        ["aws_trading_server_log_retention:", "77"],
    ),
    "a given VPC without subnets": (
        {"aws_network_vpc_id": "vpc-0123456789abcdef0"},
        ["aws_network_private_subnet_ids: is empty", "Set the subnets"],
    ),
    "an expression that leads nowhere": (
        {"algo_data_bucket": "{{ nobody }}-data"},
        ["algo_data_bucket: cannot be templated", "nobody"],
    ),
    "a setting of the fleet's own": (
        {"aws_trading_server_root_volume": {"size": "much"}},
        ["aws_trading_server_root_volume:", "size", "much"],
    ),
}


class Qa:
    """Runs site.yml with settings written into a copy of qa's own files."""

    def __init__(self, aws: Aws, playbook: Playbook, tmp: Path) -> None:
        self._aws, self._playbook, self._tmp = aws, playbook, tmp
        self._runs = 0

    def __call__(self, written: dict[str, Any], *args: str, fails: bool = True, **extra: Any) -> Outcome:
        self._runs += 1
        inventories = copied_inventories(self._tmp / str(self._runs) / "inventories", qa=written)
        return Environment(self._aws, self._playbook, "qa", inventories)(*args, fails=fails, **extra)


@pytest.fixture
def qa(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Qa:
    return Qa(fresh_aws, playbook, tmp_path)


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_refused_before_any_call(qa: Qa, what: str) -> None:
    written, said = WRONG[what]
    refused = qa(written)
    message = refused.run.plan["failed"][0]["message"]
    assert "No AWS call was made" in message
    for part in said:
        assert part in message
    # Only what was given is at fault, and it is found again where it was written.
    findings = [line for line in message.splitlines() if line.startswith("  - ")]
    assert len({finding.split(":")[0].split(".")[0] for finding in findings}) == 1, message
    if "private_subnet_ids" not in message:
        assert "(inventories/qa/group_vars/all/settings.yml:" in message
    assert refused.asked == Counter()


def test_a_file_that_is_not_yaml_is_named_with_its_line(qa: Qa, tmp_path: Path) -> None:
    inventories = copied_inventories(tmp_path / "inventories")
    settings = inventories / "qa" / "group_vars" / "all" / "settings.yml"
    settings.write_text("---\nalgo_environment: qa\nalgo_model_bucket: one: two\n")
    refused = Environment.__new__(Environment)  # its bucket is in the file that can't be read
    refused.aws, refused.name, refused._playbook, refused.inventory = qa._aws, "qa", qa._playbook, inventories / "qa"
    refused._always, refused._credentials = {}, {}
    outcome = refused(fails=True)
    assert outcome.output.count("group_vars/all/settings.yml:3: YAML parsing failed") == 1
    assert outcome.asked == Counter()


def test_words_that_ansible_drops_are_refused(qa: Qa) -> None:
    refused = qa({}, "-e", "algo_unverified=the feed is down")
    assert "-e: 'feed is down' belongs to no setting" in refused.run.plan["failed"][0]["message"]
    assert refused.asked == Counter()


def test_what_is_missing_is_said_too(qa: Qa, tmp_path: Path) -> None:
    inventories = copied_inventories(tmp_path / "some")
    settings = inventories / "qa" / "group_vars" / "all" / "settings.yml"
    settings.write_text("".join(line for line in settings.open() if not line.startswith("algo_model_bucket")))
    (inventories / "qa" / "group_vars" / "all" / "release.yml").write_text("---\n")
    refused = Environment(qa._aws, qa._playbook, "qa", inventories)(fails=True)
    message = refused.run.plan["failed"][0]["message"]
    assert "algo_model_bucket: missing required arguments" in message
    assert "algo_release: missing required arguments" in message
    assert refused.asked == Counter()


def test_all_that_is_wrong_is_said_at_once(qa: Qa) -> None:
    refused = qa(
        {"algo_colour": "red", "aws_network_cidr": "10.40.0.0/16", "algo_protect": "perhaps"}, algo_region="eu-west-1"
    )
    message = refused.run.plan["failed"][0]["message"]
    for name in ("algo_colour", "aws_network_cidr", "algo_protect", "algo_region"):
        assert f"  - {name}: " in message
    # The command line's value has no place in a file.
    assert "all/common.yml" not in message
    assert refused.asked == Counter()


def test_what_the_identities_follow_is_not_set_on_the_command_line(qa: Qa) -> None:
    refused = qa({}, aws_trading_server_model_prefix="models/x/")
    message = refused.run.plan["failed"][0]["message"]
    assert "aws_trading_server_model_prefix: decides what the environment's identities may read" in message
    assert refused.asked == Counter()


def test_another_accounts_credentials_are_refused_before_any_change(qa: Qa) -> None:
    refused = qa({"algo_account_id": "111111111111"})
    assert "The credentials belong to account 123456789012" in refused.output
    assert "qa uses account 111111111111" in " ".join(refused.output.split())
    assert refused.writes == Counter()


def test_a_bucket_of_another_account_is_called_that(qa: Qa) -> None:
    def in_another_account(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-moto-account-id"] = "999999999999"

    s3 = qa._aws.client("s3")
    s3.meta.events.register("before-call.s3", in_another_account)
    for bucket in ("somebodys-data", "algo-model-deploy"):
        s3.create_bucket(Bucket=bucket)
    refused = qa({"algo_data_bucket": "somebodys-data"})
    said = " ".join(refused.output.split())
    assert "somebodys-data: it belongs to another account" in said
    assert "algo-model-deploy: it belongs to another account" in said
    assert "choose other names in the settings" in said
    assert "not its tags" not in said
    assert refused.writes == Counter()
    # A removal does not need the names: it removes what is ours.
    removal = {"algo_data_bucket": "somebodys-data"}
    removed = qa(removal, playbook="playbooks/destroy.yml", fails=False, algo_confirm="qa")
    assert "another account" not in removed.output


def test_what_the_region_does_not_have_is_refused_before_any_change(qa: Qa) -> None:
    refused = qa({"aws_mlflow_server_instance_type": "t9z.large"})
    assert "These instance types are not offered in us-east-1: t9z.large" in refused.output
    assert refused.writes == Counter()


@pytest.mark.parametrize(
    ("environment", "own"),
    [
        ("dev", {"algo_schedules": False, "algo_model_bucket": "algo-model-deploy-dev"}),
        ("qa", {"algo_schedules": True, "algo_protect": False}),
        ("prod", {"algo_destroy_locked": True, "algo_protect": True, "aws_network_nat": "per_zone"}),
    ],
)
def test_an_environments_own_settings_win_over_what_all_share(aws: Aws, environment: str, own: dict[str, Any]) -> None:
    """Else dev would have schedules, and prod no lock."""
    program = Path(sys.executable).parent / "ansible-inventory"
    command = [program, "-i", f"inventories/{environment}/hosts.yml", "--host", "aws_network"]
    shown = subprocess.run(command, cwd=ROOT, env=aws.env, capture_output=True, text=True, check=True)
    settings = json.loads(shown.stdout)
    assert {name: settings[name] for name in own} == own
    assert settings["algo_environment"] == environment
