# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a task's arguments and the reading to a decision: the same in check mode and in a run.

Nothing here belongs to a task of Ansible's, so that one task can ask for one resource or for a list of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import (
    TYPES,
    UNKNOWN,
    Decision,
    ResourceType,
    Settings,
    decide,
    desired_settings,
)
from ansible_collections.algo.trading.plugins.plugin_utils import arguments

# What a task says about one resource.
SPEC: dict[str, dict[str, Any]] = {
    "module": {"type": "str", "required": True, "choices": sorted(TYPES)},
    "name": {"type": "str", "required": True},
    "settings": {"type": "dict", "default": {}},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "component": {"type": "str"},
    "once": {"type": "dict", "default": {}},
    "alternatives": {"type": "list", "elements": "dict", "default": []},
    "disable_protection": {"type": "bool", "default": False},
}


@dataclass(frozen=True)
class Environment:
    """What all resources of a run share."""

    scope: Scope
    state: Mapping[str, Mapping[str, Mapping[str, Any]]]
    tags: Mapping[str, str] = field(default_factory=dict)
    adopt: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Modules whose resource type an emulator does not support."""


@dataclass(frozen=True)
class Planned:
    """One resource: desired, actual, and the decision."""

    kind: ResourceType
    name: str
    component: str
    decision: Decision
    desired: Settings | None = None
    found: Mapping[str, Any] | None = None
    once: Settings = field(default_factory=dict)
    alternatives: tuple[Settings, ...] = ()

    @property
    def line(self) -> dict[str, Any]:
        """The decision as a line of the run's plan."""
        return {
            "action": self.decision.action,
            "type": self.kind.title,
            "name": self.name,
            "component": self.component,
            "reasons": list(self.decision.reasons),
        }

    @property
    def is_nothing(self) -> bool:
        """Whether it is not there and should not be: no line of a plan, nor of what is unchanged."""
        return self.desired is None and self.found is None

    @property
    def attributes(self) -> Settings:
        """What others refer to, without anything being done: values that AWS gives later are unknown."""
        if self.decision.action == "delete":
            return {}
        if self.found is not None and self.decision.action in {"no-op", "update"}:
            return dict(self.found["attributes"]) if self.found["ours"] or self.desired is not None else {}
        return dict.fromkeys(self.kind.computed, UNKNOWN) if self.decision.changes else {}


def plan(task: Mapping[str, Any], component: str, environment: Environment) -> Planned:
    """Decide about one resource.

    :param task: what ``SPEC`` describes, validated.
    :raises AnsibleActionFail: where the module that would act does not take the arguments.
    """
    kind, name = TYPES[task["module"]], task["name"]
    found = environment.state.get(kind.module, {}).get(name)
    adopt = bool({name, (found or {}).get("owner")} & set(environment.adopt))
    desired = None
    if task["state"] == "present":
        given = _complete(kind, task, component, environment)
        _check(kind, name, given, task)
        desired = desired_settings(kind, given, found, task["alternatives"], adopt)
    if kind.module in environment.missing:
        decision = Decision("no-op", ("this emulator does not support it",))
    else:
        decision = decide(kind, desired, found, adopt=adopt, disable_protection=task["disable_protection"])
    return Planned(kind, name, component, decision, desired, found, task["once"], tuple(task["alternatives"]))


def _complete(kind: ResourceType, task: Mapping[str, Any], component: str, environment: Environment) -> Settings:
    given = dict(task["settings"])
    if kind.name_argument:
        given[kind.name_argument] = task["name"]
    if kind.tagged:
        given["tags"] = {
            **environment.tags,
            **(given.get("tags") or {}),
            **environment.scope.tags(component),
            "Name": task["name"],
        }
    return given


def _check(kind: ResourceType, name: str, given: Settings, task: Mapping[str, Any]) -> None:
    try:
        alternatives: list[Settings] = task["alternatives"] or [{}]
        wrong = [
            problem
            for alternative in alternatives
            for problem in arguments.problems(kind, {**given, **alternative}, task["once"])
        ]
    except LookupError as error:
        raise AnsibleActionFail(
            f"{kind.title} {name}: {error}. Install the collections in requirements.yml."
        ) from error
    if wrong:
        raise AnsibleActionFail(f"{kind.title} {name}: {' '.join(dict.fromkeys(wrong))} It was not changed.")
