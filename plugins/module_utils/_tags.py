# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags: which ones make a resource ours, and AWS's lists of tags as dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MANAGED_BY = "algo.trading"
IDENTITY = ("Project", "Environment", "Component", "ManagedBy")


def identity_tags(project: str, environment: str, component: str) -> dict[str, str]:
    """The tags that make a resource a component's of one environment. Nothing without all of them is ever touched."""
    return dict(zip(IDENTITY, (project, environment, component, MANAGED_BY), strict=True))


def owns(tags: Mapping[str, str], project: str, environment: str) -> bool:
    """Whether tags say that a resource is this environment's, of whichever component, and made by us."""
    return carries(tags, {**identity_tags(project, environment, ""), "Component": tags.get("Component", "")})


def carries(tags: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether all wanted tags are among these, with the same values."""
    return all(tags.get(name, "") == value for name, value in wanted.items())


def tag_dict(tags: Iterable[Mapping[str, str]] | None, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """AWS's list of tags as a dictionary; some services spell the two fields in their own way."""
    return {tag[key]: tag.get(value, "") for tag in tags or ()}


def tag_list(tags: Mapping[str, object]) -> list[dict[str, str]]:
    """A dictionary as AWS's list of tags."""
    return [{"Key": key, "Value": str(value)} for key, value in tags.items()]
