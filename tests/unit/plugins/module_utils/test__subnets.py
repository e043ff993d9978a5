"""An address range is divided the same way every time, without an overlap."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from ansible_collections.algo.trading.plugins.module_utils._subnets import MAX_ZONES, subnet_plan

ZONES = ["us-east-1a", "us-east-1b", "us-east-1c", "us-east-1d"]


def test_private_subnets_are_large_and_public_ones_small_at_the_end() -> None:
    assert subnet_plan("10.30.0.0/16", ZONES[:2]) == [
        {"tier": "private", "zone": "us-east-1a", "cidr": "10.30.0.0/19", "suffix": "private-a"},
        {"tier": "private", "zone": "us-east-1b", "cidr": "10.30.32.0/19", "suffix": "private-b"},
        {"tier": "public", "zone": "us-east-1a", "cidr": "10.30.224.0/24", "suffix": "public-a"},
        {"tier": "public", "zone": "us-east-1b", "cidr": "10.30.225.0/24", "suffix": "public-b"},
    ]


@pytest.mark.parametrize("length", range(16, 21))
@pytest.mark.parametrize("zones", range(1, MAX_ZONES + 1))
def test_subnets_lie_within_the_range_and_apart(length: int, zones: int) -> None:
    whole = IPv4Network(f"172.16.0.0/{length}")
    subnets = [IPv4Network(subnet["cidr"]) for subnet in subnet_plan(str(whole), ZONES[:zones])]
    assert len(subnets) == 2 * zones
    assert all(subnet.subnet_of(whole) for subnet in subnets)
    assert not [pair for pair in combinations(subnets, 2) if pair[0].overlaps(pair[1])]
    # AWS makes no subnet smaller than a /28.
    assert max(subnet.prefixlen for subnet in subnets) <= 28


def test_one_more_zone_moves_nothing() -> None:
    two, three = (subnet_plan("10.30.0.0/16", ZONES[:number]) for number in (2, 3))
    assert [subnet for subnet in three if subnet["zone"] != "us-east-1c"] == two


@pytest.mark.parametrize(
    ("cidr", "zones", "said"),
    [
        ("10.30.0.0/15", 2, "is a /15; the range has to be a /16 to a /20"),
        ("10.30.0.0/21", 2, "is a /21"),
        ("10.30.0.0/16", 0, "0 availability zones are set; the limit is 1 to 4"),
        ("10.30.0.0/16", 5, "5 availability zones"),
        ("10.30.0.1/16", 2, "has host bits set"),
        ("ten", 2, "ten"),
    ],
)
def test_what_does_not_work_is_said_in_words(cidr: str, zones: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        subnet_plan(cidr, [f"zone-{number}" for number in range(zones)])
