"""The filters that playbooks and roles use."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.algo.trading.plugins.filter.algo import (
    FilterModule,
    components_of_run,
    foreign,
    network_ids,
    subnet_plan,
    unmatched_adoptions,
)

VPC, SUBNET = "amazon.aws.ec2_vpc_net", "amazon.aws.ec2_vpc_subnet"
GROUP, ZONE = "amazon.aws.ec2_security_group", "amazon.aws.route53_zone"


def thing(identifier: str, ours: bool = True, **attributes: Any) -> dict[str, Any]:
    return {"ours": ours, "settings": {}, "tags": {}, "attributes": {"id": identifier, **attributes}}


def test_a_network_is_found_in_a_reading() -> None:
    state = {
        VPC: {"net": thing("vpc-1", cidr="10.30.0.0/16"), "other": thing("vpc-2", ours=False, cidr="10.0.0.0/16")},
        SUBNET: {
            "net-public-a": thing("subnet-3"),
            "net-private-b": thing("subnet-2"),
            "net-private-a": thing("subnet-1"),
            "net-private-c": thing("subnet-9", ours=False),
        },
        GROUP: {"hosts": thing("sg-1"), "theirs": thing("sg-2", ours=False)},
        ZONE: {"qa.algo-trading.internal": thing("Z1")},
    }
    assert network_ids(state, "net") == {
        "vpc_id": "vpc-1",
        "vpc_cidr": "10.30.0.0/16",
        "private_subnet_ids": ["subnet-1", "subnet-2"],
        "public_subnet_ids": ["subnet-3"],
        "security_group_ids": {"hosts": "sg-1"},
        "zone_id": "Z1",
    }


def test_an_empty_account_has_no_network() -> None:
    assert network_ids({}, "net") == {
        "vpc_id": None,
        "vpc_cidr": None,
        "private_subnet_ids": [],
        "public_subnet_ids": [],
        "security_group_ids": {},
        "zone_id": None,
    }


def test_a_given_network_is_taken_from_the_settings() -> None:
    """It carries nobody's tags of ours; the groups and the zone in it do."""
    state = {GROUP: {"hosts": thing("sg-1")}, ZONE: {"qa.algo-trading.internal": thing("Z1")}}
    settings = {
        "aws_network_vpc_id": "vpc-7",
        "aws_network_cidr": "10.99.0.0/16",
        "aws_network_private_subnet_ids": ["subnet-7", "subnet-8"],
    }
    assert network_ids(state, "net", settings) == {
        "vpc_id": "vpc-7",
        "vpc_cidr": "10.99.0.0/16",
        "private_subnet_ids": ["subnet-7", "subnet-8"],
        "public_subnet_ids": [],
        "security_group_ids": {"hosts": "sg-1"},
        "zone_id": "Z1",
    }
    assert network_ids(state, "net", {"aws_network_vpc_id": ""})["vpc_id"] is None


def test_what_is_not_ours_is_named_with_its_kind() -> None:
    state = {VPC: {"net": thing("vpc-1", ours=False)}, GROUP: {"a": thing("sg-1"), "b": thing("sg-2", ours=False)}}
    assert foreign(state) == ["VPC net", "security group b"]
    assert foreign(state, adopted=["net"]) == ["security group b"]


def test_a_range_that_does_not_work_names_its_setting() -> None:
    assert len(subnet_plan("10.30.0.0/16", ["us-east-1a"])) == 2
    with pytest.raises(AnsibleFilterError, match=r"aws_network_cidr: 10\.30\.0\.0/28 is a /28"):
        subnet_plan("10.30.0.0/28", ["us-east-1a"])


def test_every_filter_has_its_name() -> None:
    filters = FilterModule().filters()
    assert {"foreign", "network_ids", "subnet_plan", "teardown_order"} <= filters.keys()
    assert all(map(callable, filters.values()))


def test_a_part_of_an_adopted_thing_is_adopted_with_it() -> None:
    state = {VPC: {"bucket": thing("b", ours=False), "bucket/rule": {**thing("r", ours=False), "owner": "bucket"}}}
    assert foreign(state) == ["VPC bucket", "VPC bucket/rule"]
    assert foreign(state, adopted=["bucket"]) == []


def test_a_name_to_adopt_that_nothing_has_is_reported_with_the_names_that_come_near() -> None:
    state = {VPC: {"algo-trading-network-qa": thing("vpc-1", ours=False)}, GROUP: {"hosts": thing("sg-1")}}
    assert unmatched_adoptions(state, ["algo-trading-network-qa", "hosts", "a-bucket"], ["a-bucket"]) == []
    assert unmatched_adoptions(state, ["algo-trading-netwrok-qa", "zzz"]) == [
        "algo-trading-netwrok-qa does not exist. Did you mean algo-trading-network-qa?",
        "zzz does not exist.",
    ]


@pytest.mark.parametrize(
    ("chosen", "tags", "skipped", "expected"),
    [
        (None, ["all"], [], ["network", "mlflow_server"]),
        (["aws_mlflow_server"], ["all"], [], ["mlflow_server"]),
        (None, ["mlflow_server"], [], ["mlflow_server"]),
        (None, ["all"], ["network"], ["mlflow_server"]),
    ],
)
def test_a_run_is_about_what_playbook_and_tags_choose(
    chosen: list[str] | None, tags: list[str], skipped: list[str], expected: list[str]
) -> None:
    assert components_of_run(["aws_network", "aws_mlflow_server"], chosen, tags, skipped) == expected
