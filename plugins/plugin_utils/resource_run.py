# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide about all resources of a list, then carry out what differs, side by side as far as references allow.

Check mode is the first half. A run decides once more about what depends on values that were unknown before. One
resource that fails keeps from being done only those that refer to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.algo.trading.plugins.module_utils.resources import UNKNOWN, Settings
from ansible_collections.algo.trading.plugins.plugin_utils import side_by_side, warm_module
from ansible_collections.algo.trading.plugins.plugin_utils.resource_act import Runner, act
from ansible_collections.algo.trading.plugins.plugin_utils.resource_list import Item, ListError, ResourceList
from ansible_collections.algo.trading.plugins.plugin_utils.resource_plan import Environment, Planned, plan

# Modules at a time. They wait more than they work; AWS throttles what calls much faster.
_AT_A_TIME = 8
# Seconds after which a resource that is still worked on is mentioned, and again.
_TELL_AFTER, _TELL_AGAIN = 15, 60


@dataclass
class Outcome:
    """What is known about one resource so far.

    :param status: planned; done; failed, also where it was not tried because another one failed.
    :param unsure: it depends on values that AWS gives only when others are made.
    """

    planned: Planned | None = None
    attributes: Settings = field(default_factory=dict)
    status: str = "planned"
    message: str = ""
    unsure: bool = False
    cause: str = ""
    seconds: float | None = None
    shown: bool = False


class ResourceRun:
    """One list of resources, from the decisions to the last change.

    :param component: of the resources that name none.
    :param show: is given each line as soon as its change is made; whether it was shown then.
    :param tell: is given a sentence about what takes long.
    """

    def __init__(
        self,
        resources: ResourceList,
        component: str,
        environment: Environment,
        *,
        show: Callable[[Planned], bool] = lambda planned: False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._resources, self._component, self._environment = resources, component, environment
        self._show, self._tell = show, tell
        self.outcomes: dict[str, Outcome] = {}
        self._busy: dict[str, list[float]] = {}

    def decide(self, *, final: bool) -> None:
        """Decide about every resource.

        :param final: whether nothing follows: otherwise, what depends on unknown values is decided when it is known.
        :raises ListError: where arguments are wrong. Nothing was changed then, whatever else is in the list.
        """
        wrong = []
        for item in self._resources.order:
            outcome = self.outcomes[item.key] = Outcome()
            if self._is_blocked(item):
                continue
            try:
                self._decide(item, outcome)
            except AnsibleActionFail as error:
                wrong.append(str(error))
                outcome.status = "failed"
                continue
            if final or not outcome.unsure:
                self._refuse(outcome)
        if wrong:
            raise ListError(wrong)

    def carry_out(self, runner: Runner) -> None:
        """Change what differs."""
        pending = [item for item in self._resources.order if self.outcomes[item.key].status == "planned"]
        acting = [item for item in pending if self._acts(self.outcomes[item.key])]
        for item in acting:
            kind = self._planned(item).kind
            warm_module.load(kind.module, kind.service)
        side_by_side.carry_out(
            {item.key: partial(self._steps, item, runner) for item in pending},
            {item.key: item.needs | item.after for item in pending},
            warm_module.start,
            limit=_AT_A_TIME,
            waiting=self._tell_what_takes_long,
        )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The plan, in the order of the list."""
        return [
            {
                **outcome.planned.line,
                **_status(outcome),
                **({"seconds": round(outcome.seconds, 1)} if outcome.seconds is not None else {}),
                **({"shown": True} if outcome.shown else {}),
            }
            for outcome in self._in_order()
            if outcome.planned and not outcome.planned.is_nothing
        ]

    @property
    def changes(self) -> list[Planned]:
        """What was changed, or would be."""
        return [
            outcome.planned
            for outcome in self._in_order()
            if outcome.planned and outcome.planned.decision.changes and outcome.status != "failed"
        ]

    @property
    def failure(self) -> str:
        """What failed and what was not tried for that, a line each; empty where nothing did."""
        texts = [outcome.message for outcome in self._in_order() if outcome.message]
        blocked: dict[str, list[str]] = {}
        for key, item in self._resources.items.items():
            if self.outcomes[key].cause:
                blocked.setdefault(self.outcomes[key].cause, []).append(item.title)
        return "\n".join(
            texts + [f"Not done, because {cause} failed: {', '.join(titles)}." for cause, titles in blocked.items()]
        )

    def attributes(self, key: str) -> Settings:
        outcome = self.outcomes[key]
        known = outcome.attributes
        if outcome.planned and outcome.status != "failed" and outcome.planned.desired is not None:
            # An emulator without this kind of resource has nothing to refer to.
            return {**dict.fromkeys(outcome.planned.kind.computed, UNKNOWN), **known}
        return known

    def _in_order(self) -> Iterator[Outcome]:
        return (self.outcomes[key] for key in self._resources.items)

    def _planned(self, item: Item) -> Planned:
        planned = self.outcomes[item.key].planned
        if planned is None:
            raise AssertionError(f"{item.key} was not decided about")
        return planned

    def _is_blocked(self, item: Item) -> bool:
        for key in self._resources.items:
            if key in item.needs and self.outcomes[key].status == "failed":
                outcome = self.outcomes[item.key]
                outcome.status = "failed"
                outcome.cause = self.outcomes[key].cause or self._resources.items[key].title
                return True
        return False

    def _decide(self, item: Item, outcome: Outcome) -> None:
        task = self._resources.resolve(item, self.attributes)
        outcome.unsure = UNKNOWN in json.dumps(task, default=str)
        outcome.planned = plan(task, task.get("component") or self._component, self._environment)
        outcome.attributes = outcome.planned.attributes

    def _refuse(self, outcome: Outcome) -> None:
        planned = outcome.planned
        if planned and planned.decision.action == "refuse":
            outcome.status = "failed"
            outcome.message = (
                f"{planned.kind.title} {planned.name}: {'; '.join(planned.decision.reasons)}. It was not changed. "
                "Set it back, or remove or rename the one that exists, then run again."
            )

    def _acts(self, outcome: Outcome) -> bool:
        return outcome.unsure or bool(outcome.planned and outcome.planned.decision.changes)

    def _steps(self, item: Item, runner: Runner) -> side_by_side.Steps:
        outcome = self.outcomes[item.key]
        if self._is_blocked(item):
            return
        began = time.monotonic()
        try:
            if outcome.unsure:
                self._decide(item, outcome)
                self._refuse(outcome)
            planned = outcome.planned
            if outcome.status == "failed" or planned is None:
                return
            if planned.decision.changes:
                self._busy[item.key] = [began, began + _TELL_AFTER]
                outcome.attributes = yield from act(planned, runner)
                outcome.seconds = time.monotonic() - began
            outcome.status = "done"
            if planned.decision.changes:
                outcome.shown = self._show(planned)
        except AnsibleActionFail as error:
            outcome.status, outcome.message = "failed", str(error)
        except Exception as error:
            # A fault of ours must not keep the other resources from being done.
            outcome.status, outcome.message = "failed", f"{item.title}: {type(error).__name__}: {error}"
        finally:
            self._busy.pop(item.key, None)

    def _tell_what_takes_long(self) -> None:
        now = time.monotonic()
        for key, times in self._busy.items():
            if now >= times[1]:
                times[1] = now + _TELL_AGAIN
                self._tell(f"{self._resources.items[key].title} ({now - times[0]:.0f} s)")


def _status(outcome: Outcome) -> Settings:
    if outcome.cause:
        return {"status": "not started", "reasons": [f"not started: {outcome.cause} failed"]}
    return {"status": outcome.status}
