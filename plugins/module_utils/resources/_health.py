# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Health of resources by the states that AWS reports. Each resource type defines its own states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ._model import ResourceType, States


def unhealthy(types: Mapping[str, ResourceType], state: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Resources of ours that AWS reports as unusable, one sentence each."""
    return [
        f"{kind.title} {name} is {word}"
        for kind, states, name, word in _reported(types, state)
        if word not in states.healthy | states.transitional | states.stopped
    ]


def unsettled(types: Mapping[str, ResourceType], state: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Resources of ours that are not usable now and need no repair, one sentence each, with what to do about it."""
    return [
        f"{kind.title} {name} is {word}: "
        + (states.start.format(name=name) if word in states.stopped else "AWS is changing it")
        for kind, states, name, word in _reported(types, state)
        if word in states.transitional | states.stopped
    ]


def to_verify(
    types: Mapping[str, ResourceType], state: Mapping[str, Mapping[str, Any]], changed: Iterable[str]
) -> list[str]:
    """Modules whose resources have to be read again before :func:`unhealthy` can be believed: those with a change since
    the reading, and those with a resource that was not healthy then. Types without a state have nothing to verify."""
    touched = set(changed)
    return sorted(
        kind.module
        for kind in types.values()
        if (states := kind.states)
        and (
            kind.module in touched
            or any(word not in states.healthy for _kind, _states, _name, word in _reported({kind.module: kind}, state))
        )
    )


def _reported(
    types: Mapping[str, ResourceType], state: Mapping[str, Mapping[str, Any]]
) -> Iterable[tuple[ResourceType, States, str, str]]:
    for module, things in state.items():
        states = types[module].states if module in types else None
        for name, thing in things.items() if states else ():
            word = thing["attributes"].get("state")
            if states and word and thing["ours"]:
                yield types[module], states, name, str(word).lower()
