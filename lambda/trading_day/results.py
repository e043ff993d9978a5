# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of each host in a shutdown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .hosts import Host, Running
from .settings import OnDrainFailure

# Outcomes of a host.
PLANNED = "planned"  # dry run
STOPPED = "stopped"  # confirmed its drain; StopInstances accepted
TERMINATED = "terminated"  # the same, but terminated: one-time spot instances cannot be stopped
FORCED = "stopped_undrained"  # did not confirm; stopped by policy
KEPT = "left_running"  # did not confirm; left running by policy
STUCK = "stop_failed"  # EC2 refused to stop it, or it still runs
RETAGGED = "retagged"  # lost its tags during the shutdown and runs; nothing without our tags is touched
UNFINISHED = "unfinished"  # out of time, or another attempt is due
HELD = "held"  # an order keeps it running until a time
GONE = "gone"  # stopped or terminated by somebody else during the shutdown
NEW = "appeared"  # started by somebody else during the shutdown
FINE = frozenset({PLANNED, STOPPED, TERMINATED, HELD, GONE})
# Left to another round, or to the next invocation.
OPEN = frozenset({UNFINISHED, NEW})
STOP_ORDERED = frozenset({STOPPED, TERMINATED, FORCED})
LEFT_RUNNING = frozenset({KEPT, STUCK, NEW, RETAGGED})


@dataclass(frozen=True)
class HostResult:
    """Result for one host: the outcome and its reason."""

    host: Host
    outcome: str
    reason: str
    # Drains that were asked for and have ended.
    attempts: int = 0
    drained: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "instance_id": self.host.id,
            "name": self.host.name,
            "model": self.host.model,
            "outcome": self.outcome,
            "reason": self.reason,
            "attempts": self.attempts,
            "drained": self.drained,
        }


def failed_outcome(policy: OnDrainFailure) -> str:
    """Outcome of a host that did not confirm after all drain attempts."""
    return FORCED if policy is OnDrainFailure.STOP else KEPT


def retagged(host: Host, tags: Mapping[str, str]) -> str:
    """Why a host that was ours is not any more."""
    edited = [f"{key} is {host.tags.get(key, '')!r}, not {value!r}" for key, value in tags.items()]
    wrong = [text for text, (key, value) in zip(edited, tags.items(), strict=True) if host.tags.get(key) != value]
    return (
        f"its tags were changed during the shutdown ({', '.join(wrong) or 'by another fleet'}), and it is {host.state}"
    )


def look_again(results: Mapping[str, HostResult], seen: Running, tags: Mapping[str, str]) -> dict[str, HostResult]:
    """Compare the results with what runs now; both may differ."""
    after: dict[str, HostResult] = {}
    for id_, result in results.items():
        now = seen.ours.get(id_) or seen.others.get(id_)
        if now is None:
            gone = result.outcome not in FINE | STOP_ORDERED
            after[id_] = (
                replace(result, outcome=GONE, reason=f"no longer running; before that: {result.reason}")
                if gone
                else result
            )
        elif id_ in seen.others:
            reason = f"{retagged(now, tags)}; before that: {result.reason}"
            after[id_] = result if result.outcome == RETAGGED else replace(result, outcome=RETAGGED, reason=reason)
        elif result.outcome in STOP_ORDERED:
            reason = f"{result.reason}; StopInstances was accepted, but it is still {now.state}"
            after[id_] = replace(result, outcome=STUCK, reason=reason)
        else:
            after[id_] = result
    for id_ in seen.ours.keys() - results.keys():
        after[id_] = HostResult(seen.ours[id_], NEW, "was started during the shutdown")
    return after
