# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ownership of instances. Tags decide what may be touched; what a tag editor cannot change decides what is reported.

A fleet touches an instance only if it carries all of the fleet's identity tags, and nothing else says that another
environment launched it. An instance that lost one of the tags is not touched, since the intent is unknown, but it is
reported: it may still be trading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .claims import MODEL
from .instances import Instance

OURS = "ours"
# Launched by this fleet, and a tag that says so was edited.
MISLABELLED = "mislabelled"
# Carries this fleet's tags, and another fleet launched it.
BORROWED = "borrowed"
# Something else made it in this environment, for a model.
RIVAL = "rival"
FOREIGN = "foreign"
_MODEL_NAME = re.compile(r"[^/]+/[^/]+/[^/]+-outer_\d+_inner_\d+")
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

    def names(self, text: str) -> bool:
        """Whether a name is this fleet's prefix, or begins with it."""
        return text == self.name_prefix or text.startswith(f"{self.name_prefix}-")

    def names_another(self, text: str) -> bool:
        """Whether a name is that of the same component in another environment of the project."""
        stem = self.name_prefix.rpartition("-")[0]
        return bool(re.match(rf"{re.escape(stem)}-[a-z][a-z0-9]+(-|$)", text)) and not self.names(text)


@dataclass(frozen=True)
class Standing:
    """Who owns an instance, from the fleet's view, and why."""

    kind: str
    reason: str = ""
    # The model that it serves, by whatever its tags say, or empty.
    model: str = ""


def standing(instance: Instance, identity: Identity) -> Standing:
    """Who owns this instance, from the fleet's view.

    Believed in this order: the client token and the instance profile, which no tag editor changes, then the tag Name,
    then the other tags. Nothing that belongs to another environment is ours, whatever its tags say.
    """
    tags = instance.tags
    wrong = {key: tags.get(key, "") for key, value in identity.tags.items() if tags.get(key) != value}
    token = _TOKEN.fullmatch(instance.client_token)
    launched_by_us = token is not None and token[1] == identity.mark
    maker = _maker(instance, identity, launched_by_us=launched_by_us, launched=token is not None)
    if not wrong:
        if maker.anothers:
            what = f"its {maker.by} belongs to another fleet"
            return Standing(BORROWED, f"it carries this fleet's tags, but {what}", instance.model)
        return Standing(OURS, model=instance.model)
    by = "" if maker.anothers else maker.by
    if maker.anothers and (maker.by != "name" or "Environment" in wrong):
        return Standing(FOREIGN)
    model = instance.model or _told_model(tags)
    edited = ", ".join(
        f"its tag {key} is {value!r}, not {identity.tags[key]!r}" if value else f"its tag {key} is missing"
        for key, value in wrong.items()
    )
    if launched_by_us:
        return Standing(MISLABELLED, f"this fleet launched it (by its client token), but {edited}", model)
    other_maker = wrong.get("ManagedBy")
    if by and not other_maker:
        return Standing(MISLABELLED, f"its {by} belongs to this fleet, but {edited}", model)
    if by == "instance profile" or (model and (by or _may_be_here(tags, identity, model))):
        who = f"ManagedBy={other_maker}" if other_maker else edited
        return Standing(RIVAL, f"this fleet did not create it ({who})", model)
    return Standing(FOREIGN)


@dataclass(frozen=True)
class _Maker:
    """Which evidence tells who launched an instance, and whether that was another fleet."""

    by: str = ""
    anothers: bool = False


def _maker(instance: Instance, identity: Identity, *, launched_by_us: bool, launched: bool) -> _Maker:
    if launched:
        return _Maker("client token", not launched_by_us)
    for by, name in (("instance profile", instance.profile), ("name", instance.tags.get("Name", ""))):
        if identity.names(name) or identity.names_another(name):
            return _Maker(by, identity.names_another(name))
    return _Maker()


def _may_be_here(tags: Mapping[str, str], identity: Identity, model: str) -> bool:
    """Whether an instance that serves a model may do so in this environment: its own tags name no other one."""
    told = {key.lower(): value.lower() for key, value in tags.items()}
    if any(told.get(key.lower(), "") not in ("", identity.tags[key].lower()) for key in ("Project", "Environment")):
        return False
    # Without the environment's tag, only what looks like a model's name tells its servers from other machines.
    return tags.get("Environment") == identity.tags["Environment"] or bool(_MODEL_NAME.fullmatch(model))


def _told_model(tags: Mapping[str, str]) -> str:
    """The model that a tag names whose key is spelled otherwise, as Model and model are two tags to EC2."""
    return next((value for key, value in sorted(tags.items()) if key.lower() == MODEL.lower()), "")


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
        f"{again}; the next run replaces it with its own server. If it belongs to another environment, give it that "
        "environment's tags Project and Environment"
    )
