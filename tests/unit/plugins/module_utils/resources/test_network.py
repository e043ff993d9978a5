"""What can be changed in a network, what cannot, and how it is removed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import dns, network, security_groups
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide

OURS = {"ours": True, "tags": {}, "attributes": {"id": "x-1", "vpc_id": "vpc-1", "cidr": "10.0.0.0/24"}}


@pytest.mark.parametrize("kind", [*network.TYPES, *security_groups.TYPES, *dns.TYPES], ids=lambda kind: kind.title)
def test_what_is_removed_is_named_by_what_was_found(kind: Any) -> None:
    names = ("settings", "attributes")
    found = {
        "settings": {"vpcs": [], "type": "A", "ttl": 60, "value": ["10.0.0.1"]},
        "attributes": dict.fromkeys(("id", "vpc_id", "cidr", "public_ip", "zone_id"), "found"),
    }
    assert set(names) == set(found)
    assert "found" in str(kind.delete_arguments(found))


def test_a_subnet_or_range_that_moved_is_refused_and_an_endpoint_replaced() -> None:
    subnet = {**OURS, "settings": {"cidr": "10.0.0.0/24", "az": "a"}}
    assert decide(network.SUBNET, {"cidr": "10.0.1.0/24", "az": "a"}, subnet).action == "refuse"
    vpc = {**OURS, "settings": {"cidr_block": ["10.0.0.0/16"]}}
    assert decide(network.VPC, {"cidr_block": ["10.9.0.0/16"]}, vpc).action == "refuse"
    endpoint = {**OURS, "settings": {"vpc_endpoint_subnets": ["a", "b"]}}
    assert decide(network.VPC_ENDPOINT, {"vpc_endpoint_subnets": ["b", "a"]}, endpoint).action == "no-op"
    assert decide(network.VPC_ENDPOINT, {"vpc_endpoint_subnets": ["c"]}, endpoint).action == "replace"
