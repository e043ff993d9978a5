"""Rules as AWS gives them and as the module takes them come out as the same lines."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import security_groups
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide

OURS = {"ours": True, "tags": {}, "attributes": {"id": "sg-1"}}


@pytest.mark.parametrize(
    ("wanted", "actual"),
    [
        (
            [{"proto": "tcp", "ports": [443, 80], "cidr_ip": "0.0.0.0/0", "rule_desc": "AWS"}],
            [
                {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
                {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
            ],
        ),
        (
            [{"proto": "tcp", "ports": ["8000-8100"], "cidr_ip": ["10.0.0.0/16", "10.1.0.0/16"]}],
            [
                {
                    "IpProtocol": "tcp",
                    "FromPort": 8000,
                    "ToPort": 8100,
                    "IpRanges": [{"CidrIp": "10.1.0.0/16"}, {"CidrIp": "10.0.0.0/16"}],
                }
            ],
        ),
        (
            [{"proto": "all", "ports": [], "group_id": "sg-1"}, {"proto": -1, "ports": [0], "group_id": "sg-1"}][1:],
            [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-1"}]}],
        ),
        (
            [{"proto": "udp", "ports": 53, "cidr_ipv6": "::/0"}],
            [{"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}],
        ),
        ([], []),
    ],
)
def test_equal_rules_read_alike(wanted: list[dict[str, Any]], actual: list[dict[str, Any]]) -> None:
    group = {**OURS, "settings": {"rules": security_groups._permissions(actual)}}
    assert decide(security_groups.SECURITY_GROUP, {"rules": wanted}, group).action == "no-op"


def test_a_port_opened_by_hand_is_named() -> None:
    actual = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    group = {**OURS, "settings": {"rules": security_groups._permissions(actual)}}
    decision = decide(security_groups.SECURITY_GROUP, {"rules": []}, group)
    assert decision.action == "update"
    assert "tcp/22 0.0.0.0/0" in decision.reasons[0]
