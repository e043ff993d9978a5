"""Four environments side by side in one account, and one in a network that others own: none touches another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils._environments import environments as environment_names
from ansible_collections.algo.trading.tests.integration.environments import (
    ACCOUNT,
    MODELS,
    ROOT,
    Environment,
    copied_inventories,
)

if TYPE_CHECKING:
    from conftest import Aws, Playbook

NAMES = environment_names(ROOT / "inventories")
Environments = dict[str, Environment]


@pytest.fixture(scope="module")
def environments(aws: Aws, shared_playbook: Playbook) -> Environments:
    aws.reset()
    return {name: Environment(aws, shared_playbook, name) for name in NAMES}


def readings(environments: Environments, *but: str) -> dict[str, dict[str, Any]]:
    return {name: environment.reading() for name, environment in environments.items() if name not in but}


def test_each_is_made_while_the_others_stay_as_they_are(environments: Environments) -> None:
    for name, environment in environments.items():
        environment.publish(*MODELS[:2])
        before = readings(environments, name)
        made = environment(**_local(environment))
        assert set(made.counts) <= {"create", "adopt", "update"}
        assert readings(environments, name) == before
        assert environment.models() == sorted(MODELS[:2])


def _local(environment: Environment) -> dict[str, Any]:
    """The local environment finds its AWS through the clone's own file, which a test leaves alone."""
    return {"algo_endpoint_url": environment.aws.endpoint} if environment.name == "local" else {}


def test_they_share_nothing(environments: Environments) -> None:
    owned = {
        name: {
            identifier
            for kind, things in reading.items()
            if kind != "instances"
            for thing in things.values()
            if thing["ours"]
            for attribute, identifier in thing["attributes"].items()
            if attribute in {"id", "arn"} and identifier
        }
        | set(reading["instances"])
        for name, reading in readings(environments).items()
    }
    for name, mine in owned.items():
        assert len(mine) > 40, name
        for other, theirs in owned.items():
            assert name == other or not mine & theirs


def test_dev_has_its_functions_and_no_schedule(environments: Environments) -> None:
    functions = {name: len(reading["amazon.aws.lambda"]) for name, reading in readings(environments).items()}
    assert functions == dict.fromkeys(NAMES, 3)
    scheduler = environments["dev"].aws.client("scheduler")
    schedules = [schedule["GroupName"] for schedule in scheduler.list_schedules()["Schedules"]]
    assert len(schedules) == 6 * (len(NAMES) - 1)
    assert not [group for group in schedules if group.endswith("-dev")]


def test_prod_takes_what_qa_has_verified_and_nothing_else(environments: Environments, tmp_path: Path) -> None:
    """The record is in the reviewed file: prod asks nobody."""
    aws, playbook, inventories = (
        environments["qa"].aws,
        environments["qa"]._playbook,
        copied_inventories(tmp_path / "i"),
    )
    qa, prod = (Environment(aws, playbook, name, inventories) for name in ("qa", "prod"))
    file = prod.inventory / "group_vars" / "all" / "release.yml"

    def refused() -> str:
        found = prod("--check", fails=True, algo_unverified="")
        assert not found.writes
        return " ".join(found.output.split())

    assert "qa has no record of having verified this release" in refused()
    before = file.read_text()
    assert not qa("--check", playbook="playbooks/promote.yml", algo_promote_to="prod").writes
    assert file.read_text() == before
    assert not qa(playbook="playbooks/promote.yml", algo_promote_to="prod").writes
    promoted = yaml.safe_load(file.read_text())["algo_release"]
    assert promoted["images"]["host"].startswith("ami-")
    assert (promoted["verified"]["environment"], promoted["verified"]["account"]) == ("qa", ACCOUNT)
    assert prod.plan(algo_unverified="").lines == []

    file.write_text(file.read_text().replace("algo_modeling: 2.0.0", "algo_modeling: 2.0.1"))
    assert "it was changed after qa had verified it" in refused()
    (kept,) = aws.client("ssm").get_parameter_history(Name="/algo-trading/prod/unverified")["Parameters"][:1]
    assert "a test" in kept["Value"]  # why it ran before it was promoted


def test_a_second_run_of_each_changes_nothing(environments: Environments) -> None:
    before = readings(environments)
    for environment in environments.values():
        assert environment.plan(**_local(environment)).lines == []
    assert readings(environments) == before


def test_a_changed_and_a_removed_one_leave_the_others_alone(environments: Environments) -> None:
    before = readings(environments, "qa")
    changed = environments["qa"](aws_trading_server_shutdown_timeout=600, algo_tags={"Team": "quants"})
    assert changed.counts["update"] > 20
    assert readings(environments, "qa") == before
    environments["qa"].destroy(confirm="qa")
    assert environments["qa"].instances() == []
    assert readings(environments, "qa") == before


def test_a_given_network_is_used_and_left_alone(environments: Environments) -> None:
    """The shared network that Terraform users have: its VPC and subnets by id, with nobody's tags of ours."""
    aws = environments["qa"].aws
    aws.reset()
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.99.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]
    given = {"aws_network_vpc_id": vpc, "aws_network_private_subnet_ids": subnets, "aws_network_cidr": "10.99.0.0/16"}
    qa = environments["qa"]
    qa.publish(*MODELS[:2])

    def network() -> list[Any]:
        return [
            ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"],
            ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"],
            ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"],
            ec2.describe_internet_gateways()["InternetGateways"],
        ]

    before = network()
    planned = qa.plan("--limit", "aws_network,aws_identity,aws_trading_server", **given)
    made = qa("--limit", "aws_network,aws_identity,aws_trading_server", **given)
    assert sorted(made.lines) == sorted(planned.lines)
    assert not {line[1] for line in made.lines} & {"VPC", "subnet", "route table", "internet gateway", "NAT gateway"}
    servers = qa.instances("trading_server")
    assert {server["SubnetId"] for server in servers} <= set(subnets)
    assert len(servers) == 2

    def without_addresses(found: list[Any]) -> list[Any]:
        for subnet in found[1]:
            subnet.pop("AvailableIpAddressCount", None)
        return found

    assert without_addresses(network()) == without_addresses(before)
    # A component alone finds the given network again.
    alone = qa.plan(playbook="playbooks/trading_server.yml", **given)
    assert alone.lines == []
    qa.destroy(confirm="qa", **given)
    assert without_addresses(network()) == without_addresses(before)
