# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ownership of instances. Tags decide what may be touched; what a tag editor cannot change decides what is reported.

A fleet touches an instance only if it carries all of the fleet's identity tags. An instance that lost one of them
is not touched, since the intent is unknown, but it is reported: it may still be trading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .instances import Instance

OURS = "ours"
# Launched by this fleet, and a tag that says so was edited.
MISLABELLED = "mislabelled"
# Carries this fleet's tags, and another fleet launched it.
BORROWED = "borrowed"
# Something else made it in this environment, for a model.
RIVAL = "rival"
FOREIGN = "foreign"
_TOKEN = re.compile(r"algo-([0-9a-f]{8})-[0-9a-f]{44}-\d+")


@dataclass(frozen=True)
class Identity:
    """What identifies a fleet's instances: its tags, and two fields that no tag editor can change."""

    tags: Mapping[str, str]
    name_prefix: str

    @property
    def mark(self) -> str:
        """Part of the client token of each launch. EC2 shows it for as long as the instance is there."""
        return hashlib.sha256("/".join(self.tags.values()).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Standing:
    """Who owns an instance, from the fleet's view, and why."""

    kind: str
    reason: str = ""


def standing(instance: Instance, identity: Identity) -> Standing:
    """Who owns this instance, from the fleet's view."""
    tags = instance.tags
    wrong = {key: tags.get(key, "") for key, value in identity.tags.items() if tags.get(key) != value}
    token = _TOKEN.fullmatch(instance.client_token)
    launched_by_us = token is not None and token[1] == identity.mark
    if not wrong:
        if token and not launched_by_us:
            return Standing(BORROWED, "it carries this fleet's tags, but its client token belongs to another fleet")
        return Standing(OURS)
    edited = ", ".join(
        f"its tag {key} is {value!r}, not {identity.tags[key]!r}" if value else f"its tag {key} is missing"
        for key, value in wrong.items()
    )
    if launched_by_us:
        return Standing(MISLABELLED, f"this fleet launched it (by its client token), but {edited}")
    if token:
        return Standing(FOREIGN)
    other_maker = wrong.get("ManagedBy")
    named = tags.get("Name", "").startswith(f"{identity.name_prefix}-")
    by = "instance profile" if instance.profile == identity.name_prefix else "name" if named else ""
    if by and not other_maker:
        return Standing(MISLABELLED, f"its {by} belongs to this fleet, but {edited}")
    if instance.model and (by or ("Environment" not in wrong and not wrong.get("Project"))):
        maker = f"ManagedBy={other_maker}" if other_maker else edited
        return Standing(RIVAL, f"this fleet did not create it ({maker})")
    return Standing(FOREIGN)


def advice(kind: str, instance: Instance, identity: Identity) -> str:
    """What an operator should do about an instance that the fleet must not touch."""
    tags = " ".join(f"Key={key},Value={value}" for key, value in identity.tags.items())
    again = f"aws ec2 create-tags --resources {instance.id} --tags {tags}"
    if kind == MISLABELLED:
        return f"Restore its tags ({again}) or terminate it, then run again"
    if kind == BORROWED:
        return "Restore the tags of the environment that launched it, or terminate it, then run again"
    return (
        "Stop or terminate it with its own tool, or adopt it: remove it from that tool (terraform state rm), then "
        f"{again}; the next run replaces it with its own server"
    )
