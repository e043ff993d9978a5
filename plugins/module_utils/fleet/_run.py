# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""State of a run, shared by the parts that act."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from . import errors
from .api import Ec2Api
from .batches import act_in_batches
from .claims import MODEL
from .desired import Server
from .errors import ApiError, FatalError
from .instances import Instance
from .launcher import Launched, Launcher, Problem
from .orders import NO_ORDERS, Orders
from .ownership import OURS, Identity, standing
from .pacing import Clock
from .placement import CapacityMemory
from .plan import ADOPT, CHANGING, CREATE, REPLACE, TERMINATE, Line
from .progress import Progress
from .settings import FleetSettings

# A health check takes instance ids and returns those that are not (yet) healthy, with what is wrong.
HealthCheck = Callable[[Sequence[Instance]], Mapping[str, str]]
_POLL_FIRST, _POLL_GROWTH, _POLL_MOST = 1.0, 1.5, 15.0


def _hopeless(error: Exception) -> bool:
    return not isinstance(error, ApiError) or error.hopeless


@dataclass
class Run:
    settings: FleetSettings
    api: Ec2Api
    clock: Clock
    progress: Progress
    memory: CapacityMemory
    launcher: Launcher
    health: HealthCheck
    # Everything of ours that is known, by id, as last seen or as we have just made it.
    instances: dict[str, Instance] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    # Claims made by this run, which a description may lag behind: id to tags.
    claims: dict[str, dict[str, str]] = field(default_factory=dict)
    # Instances that must reach the running state before the run is over, by id, with their model.
    awaited: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    # What this run has launched and claimed.
    launched: set[str] = field(default_factory=set)
    # How often a launch for this model was ended by AWS right away.
    deaths: Counter[str] = field(default_factory=Counter)
    # How launches died, one text for all of a kind.
    death_texts: dict[tuple[str, ...], str] = field(default_factory=dict)
    # Desired servers by name, models set aside with the reason, and warnings for the operator.
    servers: dict[str, Server] = field(default_factory=dict)
    set_aside: dict[str, str] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    # Failures of a whole part of the run. The other parts are still carried out.
    failures: list[str] = field(default_factory=list)
    # Lines of the plan that were carried out, by their keys, and models whose launch or claim was.
    finished: set[tuple[str, str, str]] = field(default_factory=set)
    placed: set[str] = field(default_factory=set)
    changed: bool = False
    # Why trading is halted, or empty.
    halt: str = ""
    # Halts of some models, among others.
    orders: Orders = NO_ORDERS

    def see(self, described: Iterable[Instance]) -> None:
        """Take over what a description of all servers says about ours."""
        identity = Identity(self.settings.identity_tags, self.settings.name_prefix)
        for item in described:
            if standing(item, identity).kind != OURS:
                continue
            # A description may lag behind the tags that were just written. Another operator's claim is no lag.
            tags = self.claims.get(item.id, {})
            if tags and item.model in ("", tags.get(MODEL, item.model)):
                item = item.with_tags(tags)
            self.instances[item.id] = item

    def took(self, launched: Launched, *, claimed: bool) -> None:
        """Note the outcome of a launch or claim, and stop if going on is pointless."""
        for name, instance in launched.placed.items():
            self.changed = True
            self.instances[instance.id] = instance
            self.awaited[instance.id] = name
            if claimed:
                self.placed.add(name)
                self.claims[instance.id] = dict(instance.tags)
                self.launched.add(instance.id)
        self.problems.update(launched.problems)
        if launched.abort:
            raise launched.abort

    def finish(self, lines: Iterable[Line]) -> None:
        self.finished.update(line.key for line in lines)

    def not_begun(self, line: Line) -> str:
        """Why a line of the plan was not carried out by this run, although nothing failed about it; empty if it was."""
        known = line.key in self.finished or (line.model or line.instance_id) in self.problems
        if known or line.action not in CHANGING:
            return ""
        if line.action in (CREATE, ADOPT, REPLACE) and line.model in self.placed:
            return ""
        if held := self.held.get(line.model):
            return held
        if not self.failures:
            # EC2 does not know the instance any more, which is all that a termination wants.
            return "" if line.action == TERMINATE else f"not started: {line.instance_id or line.model} no longer exists"
        # The first sentence; the run's message has the rest.
        return "not started: " + "; ".join(dict.fromkeys(text.partition(". ")[0].rstrip(".") for text in self.failures))

    def fail(self, line: Line, kind: str, text: str) -> None:
        self.problems[line.model or line.instance_id] = Problem(kind, text)

    def session(self) -> str:
        """Why nothing may be interrupted now. Checked before each batch, since a run may take long."""
        if self.settings.session is None or self.settings.force:
            return ""
        return self.settings.session.reason(self.clock.now())

    def in_batches(self, lines: Sequence[Line], doing: str, action: Callable[[Sequence[str]], None]) -> list[Line]:
        """Run an action on many instances with few requests. Returns the lines that succeeded. One that fails is
        noted and does not take the others with it; what would fail for all of them ends the run."""
        by_id = {line.instance_id: line for line in lines}
        outcome = act_in_batches(list(by_id), self.settings.action_batch, action, hopeless=_hopeless)
        self.changed = self.changed or bool(outcome.done)
        for id_, error in outcome.failed.items():
            if not isinstance(error, ApiError):
                raise error
            if error.hopeless:
                raise FatalError(error.explain(doing)) from error
            # No longer exists: terminated by somebody else; the next description shows it.
            if error.kind != errors.NOT_FOUND:
                self.fail(by_id[id_], error.kind, error.explain(f"{doing} {id_}"))
        return [by_id[id_] for id_ in outcome.done]

    def set_tags(self, lines: Iterable[Line]) -> None:
        """Write each line's tags; instances with the same tags share a request."""
        groups: dict[tuple[tuple[str, str], ...], list[Line]] = {}
        for line in lines:
            if line.tags:
                groups.setdefault(line.tags, []).append(line)
        self.progress.expect("tagged", sum(map(len, groups.values())))
        for tags, members in groups.items():
            wanted = dict(tags)
            for line in self.in_batches(members, "tag instances", partial(self._tag, wanted)):
                self.claims.setdefault(line.instance_id, {}).update(wanted)
                self.instances[line.instance_id] = self.instances[line.instance_id].with_tags(wanted)
            self.progress.done("tagged", len(members))

    def _tag(self, tags: dict[str, str], ids: Sequence[str]) -> None:
        self.api.create_tags(ids, tags)

    def look(self, ids: Sequence[str]) -> None:
        """Refresh what is known about these instances. What EC2 does not know yet stays as it is known here."""
        if len(ids) > 200:
            wanted = set(ids)
            found = [item for item in self.api.describe_servers() if item.id in wanted]
            missing = sorted(wanted - {item.id for item in found})
            found += self.api.describe_ids(missing)
        else:
            found = self.api.describe_ids(ids)
        for instance in found:
            self.instances[instance.id] = instance.with_tags(self.claims.get(instance.id, {}))

    def wait_until(
        self, ids: Sequence[str], reached: Callable[[Sequence[Instance]], set[str]], timeout: float
    ) -> set[str]:
        """Look again until all have reached it, have died, or the time is over. Returns the ids that have not."""
        waiting = set(ids)
        until = self.clock.monotonic() + timeout
        pause = _POLL_FIRST
        while waiting:
            self.look(sorted(waiting))
            waiting -= reached([self.instances[id_] for id_ in sorted(waiting)])
            dead = {id_ for id_ in waiting if not self.instances[id_].live or self._fell_back(id_)}
            if not waiting - dead or self.clock.monotonic() >= until:
                return waiting
            self.clock.sleep(pause)
            pause = min(pause * _POLL_GROWTH, _POLL_MOST)
        return waiting

    def _fell_back(self, id_: str) -> bool:
        """Whether EC2 tried to start it, could not, and stopped it again."""
        item = self.instances[id_]
        return id_ in self.awaited and item.state == "stopped" and errors.death_at_launch(item.state_reason)

    def wait_for_state(self, ids: Sequence[str], *states: str, timeout: float) -> set[str]:
        def reached(instances: Sequence[Instance]) -> set[str]:
            return {instance.id for instance in instances if instance.state in states}

        return self.wait_until(ids, reached, timeout)
