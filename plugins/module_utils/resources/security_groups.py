# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Security groups, as amazon.aws manages them: their rules are compared as lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._naming import Scope
from . import _ec2
from ._model import Found, ResourceType


def _permissions(permissions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rules as AWS gives them, one readable line for each source."""
    lines = []
    for rule in permissions:
        sources = (
            [entry["CidrIp"] for entry in rule.get("IpRanges") or ()]
            + [entry["CidrIpv6"] for entry in rule.get("Ipv6Ranges") or ()]
            + [entry["GroupId"] for entry in rule.get("UserIdGroupPairs") or ()]
            + [entry["PrefixListId"] for entry in rule.get("PrefixListIds") or ()]
        )
        ports = _ports(rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort"))
        lines += [f"{ports} {source}" for source in sources]
    return sorted(lines)


def _ports(protocol: Any, first: Any, last: Any) -> str:
    if str(protocol) in {"-1", "all"}:
        return "all"
    return f"{protocol}/{first}" if first == last else f"{protocol}/{first}-{last}"


def _rules(rules: Iterable[Mapping[str, Any]] | None) -> list[str]:
    """Rules as the module takes them, in the same lines."""
    lines = []
    for rule in rules or ():
        ports = rule.get("ports")
        ports = ports if isinstance(ports, list) else [ports]
        sources: list[str] = []
        for name in ("cidr_ip", "cidr_ipv6", "group_id", "ip_prefix"):
            value = rule.get(name)
            sources += value if isinstance(value, list) else [value] if value else []
        for port in ports:
            first, _dash, last = str(port).partition("-")
            lines += [f"{_ports(rule.get('proto', 'tcp'), first, last or first)} {source}" for source in sources]
    return sorted(lines)


def _read_security_groups(clients: Any, scope: Scope) -> Iterable[Found]:
    for group, tags in _ec2.tagged(clients, scope, "describe_security_groups", "SecurityGroups"):
        settings = {
            "name": group["GroupName"],
            "description": group["Description"],
            "vpc_id": group.get("VpcId"),
            "rules": _permissions(group.get("IpPermissions") or ()),
            "rules_egress": _permissions(group.get("IpPermissionsEgress") or ()),
            "tags": tags,
        }
        yield Found(group["GroupName"], settings, {"id": group["GroupId"]}, tags)


SECURITY_GROUP = ResourceType(
    module="amazon.aws.ec2_security_group",
    absent={"DescribeSecurityGroups": {"SecurityGroups": []}},
    service="ec2",
    title="security group",
    read=_read_security_groups,
    compared=frozenset({"name", "description", "vpc_id", "rules", "rules_egress", "tags"}),
    write_ids=frozenset({"GroupId", "Resource"}),
    force_new=frozenset({"description", "vpc_id", "name"}),
    normalize=lambda arguments: {
        name: _rules(value) if name in {"rules", "rules_egress"} else value for name, value in arguments.items()
    },
    attributes=lambda result, arguments: {"id": result.get("group_id")},
    delete_arguments=lambda found: {"group_id": found["attributes"]["id"]},
    # A terminated host holds its group a little longer.
    retryable_errors=("DependencyViolation",),
    destroy_order=75,
)

TYPES = (SECURITY_GROUP,)
