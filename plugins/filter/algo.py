# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for roles and playbooks. The documentation of each stands beside this file, in one of its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.algo.trading.plugins.module_utils import (
    _components,
    _environments,
    _naming,
    _process,
    _subnets,
    _tags,
)
from ansible_collections.algo.trading.plugins.module_utils import trading_day as _trading_day
from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from ansible_collections.algo.trading.plugins.module_utils.resources import teardown_order
from ansible_collections.algo.trading.plugins.module_utils.sessions import read_calendar


def subnet_plan(cidr: str, zones: Sequence[str]) -> list[dict[str, str]]:
    try:
        return _subnets.subnet_plan(cidr, zones)
    except ValueError as error:
        raise AnsibleFilterError(f"aws_network_cidr: {error}.") from error


def network_ids(state: dict[str, Any], name: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the network role passes to the other components: from the reading, or from the settings for a given VPC."""

    def ours(module: str) -> dict[str, dict[str, Any]]:
        return {key: thing for key, thing in state.get(module, {}).items() if thing["ours"]}

    vpc = ours("amazon.aws.ec2_vpc_net").get(name)
    found = {key: thing["attributes"] for key, thing in ours("amazon.aws.ec2_vpc_subnet").items()}
    zones = [thing["attributes"]["id"] for thing in ours("amazon.aws.route53_zone").values()]
    ids = {
        "vpc_id": vpc["attributes"]["id"] if vpc else None,
        "vpc_cidr": vpc["attributes"]["cidr"] if vpc else None,
        "private_subnet_ids": [found[key]["id"] for key in sorted(found) if "-private-" in key],
        "public_subnet_ids": [found[key]["id"] for key in sorted(found) if "-public-" in key],
        "security_group_ids": {
            key: thing["attributes"]["id"] for key, thing in ours("amazon.aws.ec2_security_group").items()
        },
        "zone_id": zones[0] if zones else None,
    }
    given = settings or {}
    if given.get("aws_network_vpc_id"):
        ids |= {
            "vpc_id": given["aws_network_vpc_id"],
            "vpc_cidr": given.get("aws_network_cidr"),
            "private_subnet_ids": list(given.get("aws_network_private_subnet_ids") or ()),
            "public_subnet_ids": [],
        }
    return ids


def components_of_run(
    hosts: Sequence[str], chosen: Sequence[str] | None, tags: Sequence[str], skipped: Sequence[str]
) -> list[str]:
    """The components of this run: the pseudo-hosts of its play, as playbook and tags select."""
    found = [host.removeprefix("aws_") for host in hosts if chosen is None or host in chosen]
    return [name for name in found if ("all" in tags or name in tags) and name not in skipped]


def _known(component: str) -> None:
    """Refuse a component that is not in the registry: its resources would never be found again."""
    if component not in _components.COMPONENTS:
        there = ", ".join(_components.COMPONENTS)
        raise AnsibleFilterError(f"{component!r} is not a component. Known components: {there}.")


def resource_name(component: str, project: str, environment: str, suffix: str = "") -> str:
    _known(component)
    # An account's number may come without quotes; the check of the settings reports that.
    return _naming.resource_name(project, component, environment, str(suffix))


def parameter_path(name: str, project: str, environment: str) -> str:
    return _naming.parameter_path(project, environment, *filter(None, [name]))


def log_group(component: str, project: str, environment: str) -> str:
    _known(component)
    return _naming.log_group(project, environment, component)


def dns_name(component: str, project: str, environment: str) -> str:
    if component:
        _known(component)
    return _naming.dns_name(project, environment, component)


def arn(resource: str, service: str, account_id: str, region: str, partition: str = "") -> str:
    # An account's number without quotes is reported by the check of the settings, as above.
    return _naming.arn(service, resource, region=region, account=str(account_id), partition_=partition)


def identity_tags(component: str, project: str, environment: str) -> dict[str, str]:
    _known(component)
    return _tags.identity_tags(project, environment, component)


def identities(project: str, environment: str) -> list[dict[str, str]]:
    return _naming.identities(project, environment)


def components(attribute: str) -> list[dict[str, Any]]:
    known = [field.name for field in dataclasses.fields(_components.Component)]
    if attribute not in known:
        raise AnsibleFilterError(
            f"{attribute!r} is not an attribute of a component. Known attributes: {', '.join(known)}."
        )
    names = _components.having(attribute)
    return [dataclasses.asdict(component) for component in _components.REGISTRY if component.name in names]


def component(name: str) -> dict[str, Any]:
    _known(name)
    return next(dataclasses.asdict(found) for found in _components.REGISTRY if found.name == name)


def environments(folder: str) -> list[str]:
    return _environments.environments(Path(folder))


def agenda(settings: Mapping[str, Any], count: int = 10, now: str | None = None) -> list[dict[str, Any]]:
    try:
        calendar = read_calendar(settings.get("algo_calendar") or {})
        moment = datetime.fromisoformat(now) if now else datetime.now(calendar.zone)
    except (InvalidInput, ValueError) as error:
        raise AnsibleFilterError(str(error)) from error
    if moment.tzinfo is None:
        raise AnsibleFilterError(f"The time needs an offset from UTC, such as 2026-11-25T17:00-05:00, not {now!r}.")
    return _trading_day.agenda(calendar, settings, moment, count)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "agenda": agenda,
            "arn": arn,
            "component": component,
            "components": components,
            "components_of_run": components_of_run,
            "dns_name": dns_name,
            "environments": environments,
            "identities": identities,
            "identity_tags": identity_tags,
            "log_group": log_group,
            "network_ids": network_ids,
            "parameter_path": parameter_path,
            "person": _process.person,
            "resource_name": resource_name,
            "subnet_plan": subnet_plan,
            "teardown_order": teardown_order,
        }
