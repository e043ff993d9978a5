"""The filters that playbooks and roles use."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.algo.trading.plugins.filter.algo import (
    FilterModule,
    components_of_run,
    network_ids,
    subnet_plan,
)
from ansible_collections.algo.trading.plugins.filter.fleet import server_summary

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


def test_a_range_that_does_not_work_names_its_setting() -> None:
    assert len(subnet_plan("10.30.0.0/16", ["us-east-1a"])) == 2
    with pytest.raises(AnsibleFilterError, match=r"aws_network_cidr: 10\.30\.0\.0/28 is a /28"):
        subnet_plan("10.30.0.0/28", ["us-east-1a"])


def test_every_filter_has_its_name() -> None:
    filters = FilterModule().filters()
    assert {"network_ids", "subnet_plan", "teardown_order"} <= filters.keys()
    assert all(map(callable, filters.values()))


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


def test_the_summary_has_a_row_for_each_server() -> None:
    row = {"instance_id": "i-1", "instance_type": "t4g.small", "private_ip_address": "10.0.0.4", "state": "running"}
    servers = [{"name": "a/b/c", "version": "1", "action": "no-op", **row}]
    assert server_summary(servers) == {
        "a/b/c": {
            "instance": "i-1",
            "instance_type": "t4g.small",
            "address": "10.0.0.4",
            "state": "running",
            "version": "1",
        }
    }
    assert server_summary([]) == {}
