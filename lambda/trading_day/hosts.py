# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances of the own environment, and of no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import error_code, from_aws
from ansible_collections.algo.trading.plugins.module_utils._tags import carries, tag_dict

# EC2 resolves tags, so a batch with one foreign or vanished instance is refused as a whole: keep them small.
BATCH = 50


@dataclass(frozen=True)
class Host:
    """One instance, as EC2 described it."""

    id: str
    state: str
    name: str = ""
    model: str = ""

    @property
    def label(self) -> str:
        return f"{self.model or self.name or 'unnamed'} ({self.id})"


@dataclass(frozen=True)
class Found:
    """Hosts that are ours, and instances that EC2 returned although they are not."""

    hosts: tuple[Host, ...] = ()
    foreign: tuple[str, ...] = ()


def find(ec2: Any, tags: Mapping[str, str], states: Sequence[str]) -> Found:
    """Instances with all of these tags in one of these states, oldest id first."""
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    filters.append({"Name": "instance-state-name", "Values": list(states)})
    try:
        pages = ec2.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 1000})
        instances = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    except Exception as error:
        raise from_aws("list the instances of the environment", error) from error
    # The filter is EC2's word; this is ours. Filters take wildcards and have been wrong before.
    ours = [item for item in instances if carries(tag_dict(item.get("Tags")), tags)]
    foreign = tuple(sorted(item["InstanceId"] for item in instances if not carries(tag_dict(item.get("Tags")), tags)))
    return Found(tuple(sorted(map(_host, ours), key=lambda host: host.id)), foreign)


def _host(instance: Mapping[str, Any]) -> Host:
    tags = tag_dict(instance.get("Tags"))
    return Host(instance["InstanceId"], instance["State"]["Name"], tags.get("Name", ""), tags.get("Model", ""))


@dataclass
class Outcome:
    """What became of hosts: done, or the reason why not."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


def in_batches(ids: Sequence[str], act: Callable[[list[str]], Any], divide: frozenset[str]) -> Outcome:
    """Act on ids in batches. Where one spoils its batch (by these error codes), halve it until that one is found."""
    outcome = Outcome()
    waiting = [list(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH)]
    while waiting:
        batch = waiting.pop(0)
        try:
            act(batch)
        except Exception as error:
            if len(batch) > 1 and error_code(error) in divide:
                half = len(batch) // 2
                waiting[:0] = [batch[:half], batch[half:]]
            else:
                outcome.failed.update(dict.fromkeys(batch, str(error)))
        else:
            outcome.done.update(batch)
    return outcome


# One instance of a call is gone, in another state, or not ours any more.
_SPOILS_STOP = frozenset(
    {
        "IncorrectInstanceState",
        "IncorrectState",
        "InvalidInstanceID.Malformed",
        "InvalidInstanceID.NotFound",
        "OperationNotPermitted",
        "UnauthorizedOperation",
        "UnsupportedOperation",
    }
)


def stop(ec2: Any, ids: Sequence[str]) -> Outcome:
    """Stop instances; those already stopping are fine."""
    return in_batches(ids, lambda batch: ec2.stop_instances(InstanceIds=batch), _SPOILS_STOP)


def start(ec2: Any, ids: Sequence[str]) -> Outcome:
    """Start instances; those already running are fine."""
    return in_batches(ids, lambda batch: ec2.start_instances(InstanceIds=batch), _SPOILS_STOP)
