# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances of this environment only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import error_code, from_aws, kind_of
from ansible_collections.algo.trading.plugins.module_utils._tags import carries
from ansible_collections.algo.trading.plugins.module_utils.fleet import batches
from ansible_collections.algo.trading.plugins.module_utils.fleet.claims import DRAIN_ASKED, drain_note
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import HOPELESS, THROTTLED
from ansible_collections.algo.trading.plugins.module_utils.fleet.instances import Instance
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import (
    FOREIGN,
    OURS,
    Identity,
    advice,
    standing,
)

# EC2 resolves tags, so a batch with one foreign or vanished instance is refused as a whole: keep them small.
BATCH = 50
_STATUS_BATCH = 100


@dataclass(frozen=True)
class Host:
    """One instance, as EC2 described it."""

    id: str
    state: str
    name: str = ""
    model: str = ""
    spot: bool = False
    tags: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        return f"{self.model or self.name or 'unnamed'} ({self.id})"


@dataclass(frozen=True)
class Found:
    """Hosts that are ours, and instances that EC2 returned although they are not."""

    hosts: tuple[Host, ...] = ()
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stranger:
    """An externally owned instance that trades, or may trade, in this environment."""

    host: Host
    reason: str
    advice: str


def find(ec2: Any, tags: Mapping[str, str], states: Sequence[str]) -> Found:
    """Instances with all of these tags in one of these states, oldest id first."""
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    instances = _describe(ec2, filters, states)
    # Check again here: filters take wildcards, and not every endpoint applies them.
    ours = [item for item in instances if carries(item.tags, tags)]
    foreign = tuple(sorted(item.id for item in instances if not carries(item.tags, tags)))
    return Found(tuple(sorted(map(_host, ours), key=lambda host: host.id)), foreign)


@dataclass(frozen=True)
class Running:
    """Every instance of the region in one of the states, by id."""

    ours: Mapping[str, Host]
    others: Mapping[str, Host]
    strangers: tuple[Stranger, ...] = ()


def running(ec2: Any, identity: Identity, states: Sequence[str]) -> Running:
    """All instances, and whose they are: a host that lost its tags is still found by its id."""
    # Without a filter by tags: what is looked for may have lost any of them.
    instances = _describe(ec2, [], states)
    ours = {item.id for item in instances if standing(item, identity).kind == OURS}
    return Running(
        {item.id: _host(item) for item in instances if item.id in ours},
        {item.id: _host(item) for item in instances if item.id not in ours},
        tuple(_strangers(instances, identity)),
    )


@dataclass(frozen=True)
class Checks:
    """EC2's own status checks of hosts, as sentences."""

    impaired: dict[str, str]
    unknown: dict[str, str]
    """Those that EC2 could not be asked about, and why."""


def checks(ec2: Any, ids: Sequence[str]) -> Checks:
    """Which of these EC2 itself reports as unhealthy, and how. Never fails: it only adds to what hosts say."""
    found = Checks({}, {})
    for start in range(0, len(ids), _STATUS_BATCH):
        batch = list(ids[start : start + _STATUS_BATCH])
        try:
            answer = ec2.describe_instance_status(InstanceIds=batch)
        except Exception as error:
            found.unknown.update(dict.fromkeys(batch, f"EC2's status checks of it cannot be read: {error}"))
            continue
        for status in answer["InstanceStatuses"]:
            kinds = {"system": "SystemStatus", "instance": "InstanceStatus"}
            bad = [name for name, key in kinds.items() if status.get(key, {}).get("Status") == "impaired"]
            if bad:
                found.impaired[status["InstanceId"]] = f"EC2 reports it impaired ({' and '.join(bad)} status check)"
    return found


def _strangers(instances: Sequence[Instance], identity: Identity) -> list[Stranger]:
    """Instances with an edited tag, with another fleet's launch token, or created for a model by another tool."""
    found = [(item, standing(item, identity)) for item in sorted(instances, key=lambda item: item.id)]
    return [
        Stranger(replace(_host(item), model=what.model), what.reason, advice(what.kind, item, identity))
        for item, what in found
        if what.kind not in (OURS, FOREIGN)
    ]


def _describe(ec2: Any, filters: list[dict[str, Any]], states: Sequence[str]) -> list[Instance]:
    filters = [*filters, {"Name": "instance-state-name", "Values": list(states)}]
    try:
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 1000})
        return [Instance.from_api(item) for page in pages for r in page["Reservations"] for item in r["Instances"]]
    except Exception as error:
        raise from_aws("list the instances of the environment", error) from error


def _host(item: Instance) -> Host:
    return Host(item.id, item.state, item.tags.get("Name", ""), item.model, item.lifecycle == "spot", item.tags)


class OutOfTime(Exception):
    """The function must end; the rest is left to the next invocation."""


@dataclass
class Outcome:
    """The hosts that were changed, and the reason for each that was not."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    # Of the changed ones, those that were terminated.
    ended: set[str] = field(default_factory=set)
    # Of the failed ones, those that were not refused themselves: the time was over, or AWS throttled.
    later: set[str] = field(default_factory=set)


InTime = Callable[[], bool]


def _always() -> bool:
    return True


def in_batches(ids: Sequence[str], act: Callable[[list[str]], Any], in_time: InTime = _always) -> Outcome:
    """Act on ids in batches, so that one refused host does not fail its batch. Nothing is begun out of time."""
    return _outcome(_batches(ids, act, in_time))


def _batches(ids: Sequence[str], act: Callable[[list[str]], Any], in_time: InTime) -> batches.Outcome:
    def guarded(batch: list[str]) -> None:
        if not in_time():
            raise OutOfTime("the function's time is over")
        act(batch)

    return batches.act_in_batches(
        ids,
        BATCH,
        guarded,
        hopeless=lambda error: isinstance(error, OutOfTime),
        indivisible=lambda error: kind_of(error) in HOPELESS,
    )


def _outcome(found: batches.Outcome) -> Outcome:
    return Outcome(
        set(found.done),
        {id_: str(error) for id_, error in found.failed.items()},
        later={
            id_ for id_, error in found.failed.items() if isinstance(error, OutOfTime) or kind_of(error) == THROTTLED
        },
    )


def note_drain(
    ec2: Any, ids: Sequence[str], asked: datetime, *, confirmed: bool = False, in_time: InTime = _always
) -> Outcome:
    """Tag each host as asked to drain, so that the next start does not count it as up to date. One that confirmed
    and still runs is restarted even in the session, since it does not trade."""
    tags = [{"Key": DRAIN_ASKED, "Value": drain_note(asked, confirmed=confirmed)}]
    return in_batches(ids, lambda batch: ec2.create_tags(Resources=batch, Tags=tags), in_time)


def start(ec2: Any, ids: Sequence[str]) -> Outcome:
    """Start instances; those already running are fine."""
    return in_batches(ids, lambda batch: ec2.start_instances(InstanceIds=batch))


def stop(ec2: Any, ids: Sequence[str]) -> Outcome:
    """Stop instances; those already stopping are fine."""
    return in_batches(ids, lambda batch: ec2.stop_instances(InstanceIds=batch))


def stop_or_end(
    ec2: Any, hosts: Sequence[Host], why_not_end: Callable[[Mapping[str, str]], str], in_time: InTime = _always
) -> Outcome:
    """Stop hosts. A one-time spot instance cannot be stopped: it is terminated, and the next start launches a new
    one for its model. A persistent one stops like any other. `why_not_end` tells by its tags why a host may not be
    terminated."""
    told = _batches([host.id for host in hosts], lambda batch: ec2.stop_instances(InstanceIds=batch), in_time)
    stopped = _outcome(told)
    refused = stopped.failed
    to_end = []
    for host in hosts:
        if host.spot and error_code(told.failed.get(host.id)) == "UnsupportedOperation":
            if why := why_not_end(host.tags):
                refused[host.id] += f". It is not terminated: {why}"
            else:
                to_end.append(host.id)
                del refused[host.id]
    ended = in_batches(to_end, lambda batch: ec2.terminate_instances(InstanceIds=batch), in_time)
    return Outcome(stopped.done | ended.done, refused | ended.failed, ended.done, stopped.later | ended.later)
