# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resource engine: read an environment once, decide about each resource purely, and let a module act.

Tags are the state. :func:`read_environment` asks AWS what an environment consists of; :func:`decide` compares one
resource's desired arguments with that; the ``algo.trading.resources`` action calls the Ansible module only when
something is to be done. So check mode and a real run share every decision, and a run that changes nothing starts
no module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from .._aws import Reading
from .._errors import NOT_OFFERED, kind_of
from .._naming import Scope
from . import (
    _health,
    compute,
    database,
    dns,
    functions,
    identity,
    messaging,
    monitoring,
    network,
    parameters,
    scheduling,
    secrets,
    security_groups,
    storage,
)
from ._decide import STEERING, decide, describe, desired_settings
from ._model import UNKNOWN, Decision, Found, ResourceType, Settings

__all__ = [
    "STEERING",
    "TYPES",
    "UNKNOWN",
    "Decision",
    "Found",
    "ResourceType",
    "Settings",
    "State",
    "decide",
    "describe",
    "desired_settings",
    "read_environment",
    "teardown_order",
    "to_verify",
    "unhealthy",
    "unsettled",
]

_AREAS = (
    network,
    security_groups,
    dns,
    identity,
    storage,
    secrets,
    database,
    compute,
    functions,
    messaging,
    monitoring,
    parameters,
    scheduling,
)
TYPES: dict[str, ResourceType] = {kind.module: kind for area in _AREAS for kind in area.TYPES}

State = dict[str, dict[str, dict[str, Any]]]


def read_environment(
    reading: Reading,
    scope: Scope,
    kinds: Iterable[ResourceType] | None = None,
    missing: list[str] | None = None,
) -> State:
    """Read what an environment consists of.

    :param reading: gives a boto3 client for a service name; called from several threads, must return shared clients.
    :param missing: with an emulator, takes the modules of the kinds that it lacks; without, such a kind is an error.
    :return: module name → key → ``{ours, component, settings, attributes, tags}``.
    :raises botocore.exceptions.ClientError: as AWS answers; nothing is guessed when a reading is refused.
    """
    kinds = tuple(kinds if kinds is not None else TYPES.values())

    def read(kind: ResourceType) -> list[Found]:
        try:
            return list(kind.read(reading, scope))
        except Exception as error:
            if missing is None or kind_of(error) != NOT_OFFERED:
                raise
            missing.append(kind.module)
            return []

    # A thread for each kind: all wait for AWS, and few have as much as ten calls to make.
    with ThreadPoolExecutor(max(1, len(kinds))) as pool:
        answers = list(pool.map(read, kinds))
    owners = {
        found.key: found.tags
        for answer in answers
        for found in answer
        if found.tags is not None and scope.owns(found.tags)
    }
    return {
        kind.module: {found.key: _as_dict(found, scope, owners) for found in answer}
        for kind, answer in zip(kinds, answers, strict=True)
    }


def _as_dict(found: Found, scope: Scope, owners: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What cannot carry tags is ours, and the component's, as the resource that it is a part of is."""
    tags = found.tags if found.tags is not None else owners.get(found.owner or "", {})
    return {**found.as_dict(scope.owns(tags)), "component": tags.get("Component")}


def _within(name: str, kept: str) -> bool:
    return name == kept or name.startswith(f"{kept}/")


def unhealthy(state: State) -> list[str]:
    """Resources of ours that AWS reports as unusable, one sentence each; empty is what a run should end with."""
    return _health.unhealthy(TYPES, state)


def unsettled(state: State) -> list[str]:
    """Resources of ours that AWS still works on or that somebody has stopped, one sentence each."""
    return _health.unsettled(TYPES, state)


def to_verify(state: State, changed: Iterable[str]) -> list[str]:
    """Modules whose resources have to be read again at the end of a run that has changed those of ``changed``."""
    return _health.to_verify(TYPES, state, changed)


def teardown_order(state: State, keep: Sequence[str] = (), component: str | None = None) -> list[dict[str, Any]]:
    """What of a reading is ours, in the order in which it can be removed, as entries for ``algo.trading.resources``.

    :param keep: keys to leave out; what is a part of such a resource (``bucket/rule``) is left out with it.
    :param component: only what belongs to this one.
    :return: entries with state absent. What others name comes after them; the rest can go side by side.
    """
    ours = [
        (TYPES[module], name, thing)
        for module, things in state.items()
        for name, thing in things.items()
        if thing["ours"] and not thing.get("pending_deletion") and not any(_within(name, kept) for kept in keep)
    ]

    def references(identifier: Any, kind: ResourceType) -> int:
        others = (thing for other, _name, thing in ours if other is kind)
        return sum(str(identifier) in str(thing["settings"]) for thing in others) if identifier else 0

    found = sorted(
        (kind.destroy_order, references(thing["attributes"].get("id"), kind), name, kind.module, thing["component"])
        for kind, name, thing in ours
        if component in {None, thing["component"]}
    )
    entries: list[dict[str, Any]] = []
    before: list[str] = []
    for _step, group in groupby(found, key=lambda entry: entry[:2]):
        members = [
            {"id": f"step_{len(entries) + place}", "module": module, "name": name, "component": owner}
            for place, (_order, _references, name, module, owner) in enumerate(group)
        ]
        entries += [{**member, "state": "absent", "after": before} for member in members]
        before = [member["id"] for member in members]
    return entries
