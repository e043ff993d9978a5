# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The decision: desired servers and described instances in, a plan out. Pure: no call, no clock, no randomness.

Check mode, a real run, a saved plan and the Lambda all get their plan here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any

from . import deaths
from .architectures import architecture
from .claims import CLAIM_DIGEST, DRAIN_ASKED, RESTART_BEGUN, claim_digest, disagreement, reassigned
from .desired import Server
from .instances import Instance
from .orders import NO_ORDERS, Orders
from .ownership import BORROWED, FOREIGN, OURS, RIVAL, Identity, Standing, advice, standing
from .plan import (
    ACTIONS,
    ADOPT,
    CREATE,
    HOLD,
    LEAVE,
    RECONFIGURE,
    REPLACE,
    RESTART,
    START,
    STOP,
    TERMINATE,
    Line,
    Plan,
)
from .settings import FleetSettings

_DIED = "the same launch failed a short while ago"
_STOPPED_ONLY = ("configuration", "instance_type")


def make_plan(
    settings: FleetSettings,
    servers: Sequence[Server],
    instances: Sequence[Instance],
    now: datetime,
    set_aside: Mapping[str, str] | None = None,
    just_made: Collection[str] = (),
    halt: str = "",
    orders: Orders = NO_ORDERS,
) -> Plan:
    """Decide what happens to every listed model and to every instance of ours.

    `set_aside` are models set aside, with the reason: their servers are not changed. One without
    a name makes it unknown which servers are obsolete, so none is removed. `just_made` are instances
    that this run has launched itself: if another operator was faster, it takes its own back. `halt` is why trading is
    halted, if it is; `orders` also halt some models.
    """
    return _Planner(settings, servers, instances, now, set_aside or {}, just_made).plan(halt, orders)


class _Planner:
    def __init__(
        self,
        settings: FleetSettings,
        servers: Sequence[Server],
        instances: Sequence[Instance],
        now: datetime,
        set_aside: Mapping[str, str],
        just_made: Collection[str],
    ) -> None:
        self.settings = settings
        self.now = now
        self.set_aside = set_aside
        self.just_made = just_made
        self.desired = {} if settings.state == "absent" else {server.name: server for server in servers}
        self.claimed: dict[str, list[Instance]] = defaultdict(list)
        self.unclaimed: list[Instance] = []
        self.fleet_size = 0
        self.lines: list[Line] = []
        quiet = settings.session.reason(now) if settings.session else ""
        self.session = "" if settings.force else quiet
        self.deaths = deaths.recent([item for item in instances if self._standing(item).kind == OURS], now)
        # Models that an instance serves which must not be touched: they get no second server.
        self.served_elsewhere: dict[str, Instance] = {}
        for instance in sorted(instances, key=lambda item: item.age_key):
            if instance.live:
                self._sort_in(instance)
        self.unclaimed.sort(key=lambda item: item.batch_key)
        # Running servers whose tags name another model than the one they were claimed for and still work for.
        self.reassigned = {
            item.tags[CLAIM_DIGEST]: item
            for held in self.claimed.values()
            for item in held
            if reassigned(item.tags) and item.state in ("pending", "running")
        }

    def _standing(self, instance: Instance) -> Standing:
        return standing(instance, self._identity)

    @cached_property
    def _identity(self) -> Identity:
        return Identity(self.settings.identity_tags, self.settings.name_prefix)

    def _sort_in(self, instance: Instance) -> None:
        found = self._standing(instance)
        if found.kind == OURS:
            self.fleet_size += bool(instance.model)
            if not instance.model:
                self.unclaimed.append(instance)
            elif self._selected_instance(instance, instance.model):
                self.claimed[instance.model].append(instance)
            return
        if found.kind == FOREIGN or (found.kind == RIVAL and found.model and found.model not in self.desired):
            return
        if not self._selected_instance(instance, found.model) and not self.settings.selection.everything:
            return
        if found.kind != BORROWED and found.model:
            self.served_elsewhere[found.model] = instance
        reason = f"not touched: {found.reason}"
        serves = f"serves {found.model}" if found.model else "serves no model"
        alarm = f"{instance.id} ({instance.state}) {serves} and is not touched: {found.reason}. "
        alarm += f"{advice(found.kind, instance, self._identity)}."
        self._add(LEAVE, instance, reason, model=found.model, cause=found.kind, alarm=alarm)

    def plan(self, halt: str, orders: Orders) -> Plan:
        missing: list[Server] = []
        for name in sorted(set(self.desired) | set(self.claimed)):
            server = self.desired.get(name)
            if server is not None and not self._selected_server(server):
                continue
            if server is None and name in self.set_aside:
                for instance in self.claimed[name]:
                    self._add(LEAVE, instance, f"not changed: {self.set_aside[name]}")
                continue
            keeper = self._keep_one(name, server)
            if server is None:
                if keeper:
                    self._remove(keeper)
            elif keeper:
                self._compare(server, keeper)
            else:
                missing.append(server)
        self._fill(missing)
        self._clear_unclaimed()
        self.lines = [_faulty(line.under(halt or orders.halted(line.model, self.now))) for line in self.lines]
        order = {action: number for number, action in enumerate(ACTIONS)}
        self.lines.sort(key=lambda line: (order[line.action], line.model, line.instance_id))
        return Plan(tuple(self.lines), self.fleet_size)

    # One per model

    def _keep_one(self, name: str, server: Server | None) -> Instance | None:
        """Choose among several instances of one model, and terminate the others."""
        held = self.claimed.get(name, [])
        if not held:
            return None
        keeper = min(held, key=lambda item: self._worth(server, item))
        racers = [item for item in held if self._racing(name, item)]
        if keeper in racers:
            # The first, whatever their states: so that racing runs do not end each other's.
            keeper = min(racers, key=lambda item: (item.created, item.id))
        for extra in held:
            if extra is keeper:
                continue
            reason = f"{keeper.id} serves the same model and is kept"
            if extra.id in self.just_made or (extra in racers and extra.created >= keeper.created):
                self._end(extra, "taken back", reason)
            elif self.settings.state != "absent" and not self._protected(extra) and self._busy(extra):
                alarm = (
                    f"{name} has two servers: {keeper.id} ({keeper.state}) and {extra.id} ({extra.state}). "
                    f"{extra.id} is not terminated: {self.session}. If both trade, drain and stop one of them by "
                    "hand; a run outside the session terminates it."
                )
                self._hold(TERMINATE, extra, reason, None, cause="duplicate", alarm=alarm)
            else:
                self._end(extra, "duplicate", reason)
        return keeper

    def _racing(self, name: str, instance: Instance) -> bool:
        """Whether a run launched it for this model so recently that another run may have done the same at once.

        A tag edited by hand does not make a server one of these: the claim's digest and its creation tell.
        """
        return (
            instance.state in ("pending", "running")
            and instance.tags.get(CLAIM_DIGEST) == claim_digest(name)
            and not disagreement(instance.tags)
            and (self.now - instance.created).total_seconds() < self.settings.claim_grace
            and not self._protected(instance)
        )

    def _worth(self, server: Server | None, instance: Instance) -> tuple[Any, ...]:
        state = ("running", "pending", "stopped", "stopping").index(instance.state)
        fits = server is not None and not self._changes(server, instance)
        return (not self._protected(instance), state, not fits, *instance.age_key)

    def _remove(self, instance: Instance) -> None:
        absent = self.settings.state == "absent"
        reason = "state is absent" if absent else "its model is no longer listed"
        if not absent and "" in self.set_aside:
            self._hold(TERMINATE, instance, reason, None, why="a listed model has no valid name")
        elif not absent and not self._protected(instance) and self._busy(instance):
            self._hold(TERMINATE, instance, reason, None)
        else:
            self._end(instance, "removed", reason)

    def _end(self, instance: Instance, cause: str, reason: str) -> None:
        mark = self._protected(instance)
        if mark:
            self._add(LEAVE, instance, f"protected by its tag {mark}; otherwise terminated: {reason}")
        else:
            self._add(TERMINATE, instance, reason, cause=cause)

    # Compare one server with its settings

    def _changes(self, server: Server, instance: Instance) -> dict[str, str]:
        """The differences by kind, as text for the plan."""
        spec, tags = server.spec, instance.tags
        changes: dict[str, str] = {}
        if reassigned(tags):
            changes["claim"] = "its tags name another model than the one it serves"
        if tags.get(RESTART_BEGUN):
            changes["restart"] = f"the restart of {tags[RESTART_BEGUN]} was not finished"
        version = tags.get("ModelVersion", "")
        if server.model.version and version != server.model.version:
            changes["version"] = f"model version {version or 'none'} -> {server.model.version}"
        if spec.settings.image_id and instance.image_id != spec.settings.image_id:
            changes["image"] = f"image {instance.image_id} -> {spec.settings.image_id}"
        if spec.settings.instance_types and instance.type not in spec.settings.instance_types:
            changes["instance_type"] = f"type {instance.type} -> {spec.settings.instance_types[0]}"
        if spec.settings.subnet_ids and instance.subnet_id not in spec.settings.subnet_ids:
            changes["subnet"] = f"subnet {instance.subnet_id} -> {server.home}"
        if tags.get("ConfigDigest") != spec.config_digest:
            changes["configuration"] = f"configuration {tags.get('ConfigDigest', 'none')} -> {spec.config_digest}"
        if tags.get("LaunchDigest") != spec.launch_digest:
            changes["launch"] = f"launch settings {tags.get('LaunchDigest', 'none')} -> {spec.launch_digest}"
        return {what: text for what, text in changes.items() if self._policy(what, instance) != "ignore"}

    def _policy(self, what: str, instance: Instance) -> str:
        if what in ("claim", "restart"):
            # A server never changes its model without a restart.
            return "restart"
        policy = self.settings.on_change[what]
        # EC2 changes these only on a stopped instance, and stops no one-time spot instance.
        if policy == "restart" and what in _STOPPED_ONLY and _running_spot(instance):
            return "replace"
        return policy

    def _compare(self, server: Server, instance: Instance) -> None:
        changes = self._changes(server, instance)
        unfit = self._unfit(server, instance, changes)
        if unfit and not self._power(instance):
            self._hold(self._way(changes, instance), instance, "; ".join(changes.values()), server, why=unfit)
            return
        if unfit:
            # It starts or stops as it is: a type that its image does not run on would leave it stopped.
            changes = {
                what: text
                for what, text in changes.items()
                if what != "instance_type" and self._policy(what, instance) != "replace"
            }
        policies = {self._policy(what, instance) for what in changes}
        reason = "; ".join([*changes.values(), *([f"its type is not changed: {unfit}"] if unfit else [])])
        rival = self.served_elsewhere.get(server.name)
        if rival and self._power(instance) == START:
            self._hold(START, instance, "stopped", server, why=f"{rival.id} serves the same model already")
            return
        if server.model.unready:
            if changes and (not self._power(instance) or reassigned(instance.tags)):
                held = REPLACE if "replace" in policies else self._power(instance) or RESTART
                self._hold(held, instance, reason, server, why=server.model.unready)
                return
            # It starts or stops as its own tags say: its version is known, the next one is not.
            reason = f"not changed: {server.model.unready} ({reason})" if changes else ""
            changes, policies = {}, set()
        if "replace" in policies:
            if "replace" not in {self.settings.on_change.get(what) for what in changes}:
                reason += "; a one-time spot instance cannot be stopped, so it is not restarted but replaced"
            self._replace(server, instance, reason)
            return
        tags = self._tag_updates(server, instance, changes)
        attributes: dict[str, str] = {}
        if self.settings.on_change["configuration"] == "restart" and "configuration" in changes:
            attributes["UserData"] = server.spec.user_data
        if "instance_type" in changes:
            attributes["InstanceType"] = server.spec.settings.instance_types[0]
        power = self._power(instance)
        if instance.drain_asked and instance.state in ("pending", "running"):
            reason = "; ".join(filter(None, [f"drain requested at {instance.drain_asked}, not stopped since", reason]))
            if self.settings.power == "running":
                policies.add("restart")
        details: dict[str, Any] = {"tags": tuple(sorted(tags.items())), "attributes": tuple(sorted(attributes.items()))}
        if power == START:
            why = "stopped, power is running" + (f"; {reason}" if reason else "")
            self._add(START, instance, why, server, **details)
        elif power == STOP:
            if self._busy(instance):
                self._hold(STOP, instance, "running, power is stopped", server)
            elif instance.lifecycle == "spot":
                self._add(LEAVE, instance, "a one-time spot instance cannot be stopped", server)
            else:
                why = "running, power is stopped" + (f"; {reason}" if reason else "")
                self._add(STOP, instance, why, server, **details)
        elif "restart" in policies and instance.state not in ("stopped", "stopping"):
            if self._busy(instance):
                self._hold(RESTART, instance, reason, server, alarm=self._undrained(instance))
            else:
                self._add(RESTART, instance, reason, server, **details)
        elif tags or attributes:
            why = "; ".join(filter(None, [disagreement(instance.tags), reason])) or "tags " + ", ".join(sorted(tags))
            if instance.state in ("stopped", "stopping"):
                why += "; takes effect when it starts"
            self._add(RECONFIGURE, instance, why, server, **details)
        else:
            self._add(LEAVE, instance, reason or self._up_to_date(instance), server)

    def _undrained(self, instance: Instance) -> str:
        """The warning about a server that may trade or not, since it did not confirm its drain."""
        if not instance.drain_asked or self.settings.power != "running":
            return ""
        return (
            f"{instance.model}: {instance.id} was asked to drain at {instance.drain_asked} and did not confirm it, so "
            f"it may be trading or not. It is not restarted: {self.session}. Look at the host; if it does not trade, "
            "run again with -e aws_trading_server_once_force=true (once.force of the module)."
        )

    def _way(self, changes: Mapping[str, str], instance: Instance) -> str:
        return REPLACE if "replace" in {self._policy(what, instance) for what in changes} else RESTART

    def _unfit(self, server: Server, instance: Instance, changes: Mapping[str, str]) -> str:
        """Why the instance cannot get its new type: it would run the image of another CPU architecture."""
        if "instance_type" not in changes:
            return ""
        wanted = architecture(server.spec.settings.instance_types[0])
        if architecture(instance.type) == wanted:
            return ""
        if self._way(changes, instance) == REPLACE and server.spec.settings.image_id not in ("", instance.image_id):
            return ""
        return (
            f"{server.spec.settings.instance_types[0]} is {wanted}, image {instance.image_id} is "
            f"{architecture(instance.type)}; set an image for {wanted}, and on_change.instance_type to replace"
        )

    def _tag_updates(self, server: Server, instance: Instance, changes: Mapping[str, str]) -> dict[str, str]:
        wanted = {**dict(server.spec.tags), **dict(server.claim_tags)}
        if self._power(instance) == START:
            wanted |= dict.fromkeys((DRAIN_ASKED, RESTART_BEGUN), "")
        if server.model.unready:
            # Where several artifacts are listed, nobody knows which is the model's.
            wanted.pop("ModelUri")
        signals = {"ModelVersion": "version", "ConfigDigest": "configuration", "LaunchDigest": "launch"}
        return {
            key: value
            for key, value in wanted.items()
            if instance.tags.get(key, "") != value and (key not in signals or signals[key] in changes)
        }

    def _power(self, instance: Instance) -> str:
        down = instance.state in ("stopped", "stopping")
        if self.settings.power == "running" and down:
            return START
        if self.settings.power == "stopped" and not down:
            return STOP
        return ""

    def _up_to_date(self, instance: Instance) -> str:
        if instance.state in ("stopped", "stopping"):
            if self.settings.power == "keep":
                return "stopped, not changed (power: keep)"
            return "up to date (stopped)"
        return "up to date"

    # Replacement

    def _replace(self, server: Server, instance: Instance, reason: str) -> None:
        mark = self._protected(instance)
        if mark:
            self._hold(REPLACE, instance, reason, server, why=f"protected by its tag {mark}")
        elif self._busy(instance):
            self._hold(REPLACE, instance, reason, server, alarm=self._undrained(instance))
        elif dead := self.deaths.get(deaths.key_of(server.spec)):
            self._hold(REPLACE, instance, reason, server, why=_DIED, alarm=self._death(dead, server))
        else:
            self._add(REPLACE, instance, reason, server)

    # Missing and unclaimed

    def _fill(self, missing: Sequence[Server]) -> None:
        """Give unclaimed instances to the models that lack one, then to those to be replaced; create the rest."""
        for server in missing:
            if why := self._why_no_server(server):
                self._without_server(server, why)
        missing = rest = [server for server in missing if not self._why_no_server(server)]
        # First those of the model's own subnet: so the rest is the same batch that an interrupted run had in hand.
        for same_subnet in (True, False):
            rest = []
            for server in missing:
                instance = self._unclaimed_for(server, same_subnet=same_subnet)
                if instance:
                    self._add(
                        ADOPT,
                        instance,
                        "unclaimed, matches the settings; left by an unfinished launch",
                        server,
                        model=server.name,
                    )
                else:
                    rest.append(server)
            missing = rest
        for server in rest:
            if self.settings.power == "stopped":
                self._without_server(server, "not created while power is stopped")
            elif dead := self.deaths.get(deaths.key_of(server.spec)):
                self._without_server(server, _DIED, self._death(dead, server))
            else:
                self.lines.append(Line(CREATE, server.name, "", "has no server", server=server))
        for number, line in enumerate(self.lines):
            if line.action == REPLACE and line.server and self.settings.replace.surge:
                successor = self._unclaimed_for(line.server, same_subnet=False, running=True)
                if successor:
                    self.lines[number] = replace(line, successor=successor.id)

    def _why_no_server(self, server: Server) -> str:
        """Why this model may not have a server of its own now."""
        if server.model.unready:
            return server.model.unready
        if elsewhere := self.served_elsewhere.get(server.name):
            return f"{elsewhere.id} already serves it and is not touched"
        if before := self.reassigned.get(claim_digest(server.name)):
            return f"{before.id} serves it until its restart, although its tags name {before.model}"
        return ""

    def _without_server(self, server: Server, why: str, alarm: str = "") -> None:
        self.lines.append(Line(HOLD, server.name, "", f"has no server; {why}", held=CREATE, server=server, alarm=alarm))

    def _death(self, dead: Instance, server: Server) -> str:
        return deaths.explain(dead, server.spec.settings.root_volume.kms_key_id)

    def _unclaimed_for(self, server: Server, *, same_subnet: bool, running: bool = False) -> Instance | None:
        spec = server.spec
        for instance in self.unclaimed:
            if (
                instance.tags.get("ConfigDigest") == spec.config_digest
                and instance.tags.get("LaunchDigest") == spec.launch_digest
                and instance.image_id == spec.settings.image_id
                and instance.type in spec.settings.instance_types
                and (
                    instance.subnet_id == server.home if same_subnet else instance.subnet_id in spec.settings.subnet_ids
                )
                and (not running or instance.state in ("pending", "running"))
                and not self._protected(instance)
            ):
                self.unclaimed.remove(instance)
                return instance
        return None

    def _clear_unclaimed(self) -> None:
        for instance in self.unclaimed:
            age = (self.now - instance.launch_time).total_seconds()
            if not self.settings.selection.everything:
                self._add(LEAVE, instance, "unclaimed; only a run without selection removes it")
            elif self.settings.state != "absent" and age < self.settings.claim_grace:
                # Another operator may be about to claim it.
                self._add(LEAVE, instance, f"unclaimed for less than {self.settings.claim_grace:g} s, may be in use")
            else:
                self._end(instance, "unclaimed", "unclaimed, and no model needs it")

    # Helpers

    def _selected_server(self, server: Server) -> bool:
        model = server.model
        return self.settings.selection.matches(
            type_=model.type, symbol=model.symbol, model=model.model, name=model.name
        )

    def _selected_instance(self, instance: Instance, model: str) -> bool:
        # By its model if that is listed: one edited tag must not hide a server, or its model would get a second one.
        if server := self.desired.get(model):
            return self._selected_server(server)
        tags = instance.tags
        return self.settings.selection.matches(
            type_=tags.get("ModelType", ""),
            symbol=tags.get("Symbol", ""),
            model=tags.get("ModelName", ""),
            name=model,
        )

    def _protected(self, instance: Instance) -> str:
        return self.settings.protection(instance.tags)

    def _busy(self, instance: Instance) -> bool:
        return bool(self.session) and instance.state in ("pending", "running") and not instance.idle

    def _hold(
        self,
        action: str,
        instance: Instance,
        reason: str,
        server: Server | None,
        *,
        why: str | None = None,
        **more: Any,
    ) -> None:
        because = why if why is not None else f"{self.session}; run again later, or set once.force"
        text = f"{action} is held: {because} ({reason})"
        self._add(HOLD, instance, text, server, held=action, **more)

    def _add(
        self,
        action: str,
        instance: Instance,
        reason: str,
        server: Server | None = None,
        *,
        model: str = "",
        **more: Any,
    ) -> None:
        self.lines.append(Line(action, model or instance.model, instance.id, reason, server=server, **more))


def _faulty(line: Line) -> Line:
    """The line with the alarm about its model, if there is one."""
    fault = line.server.model.fault if line.server else ""
    return replace(line, alarm=f"{line.model}: {fault}.") if fault and not line.alarm else line


def _running_spot(instance: Instance) -> bool:
    """A spot instance that cannot be stopped: this fleet's spot requests are one-time."""
    return instance.lifecycle == "spot" and instance.state in ("pending", "running")
