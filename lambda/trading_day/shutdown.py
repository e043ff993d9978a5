# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""trading_server_shutdown: drain every running trading server of the environment, stop those that confirmed.

Nothing is remembered between invocations. What is left to do is read from EC2 every time, and a drain may be asked
for twice, so a second invocation at once, or one after a crash, comes to the same end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils._naming import resource_name
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import Identity
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock

from . import hosts, report
from .drain import drain
from .events import Request
from .hosts import Host
from .settings import OnDrainFailure, ShutdownSettings

COMPONENT = "trading_server"

# What became of a host.
PLANNED = "planned"  # dry run
STOPPED = "stopped"  # confirmed its drain and was told to stop
TERMINATED = "terminated"  # the same, and ended, since one-time spot instances cannot be stopped
FORCED = "stopped_undrained"  # did not confirm; stopped by policy
KEPT = "left_running"  # did not confirm; left running by policy
STUCK = "stop_failed"  # to be stopped, but EC2 refused, or it still runs
UNFINISHED = "unfinished"  # time was up; the next invocation goes on
GONE = "gone"  # ended by somebody else meanwhile
NEW = "appeared"  # started by somebody else meanwhile
_LOOKS = (2.0, 4.0, 8.0, 0.0)
FINE = frozenset({PLANNED, STOPPED, TERMINATED, GONE})
_TOLD = frozenset({STOPPED, TERMINATED, FORCED})


class ShutdownUnfinished(AlgoTradingError):
    """Hosts are left to do. Ends the invocation as an error, so that Lambda makes another one."""


@dataclass(frozen=True)
class Fate:
    """What was done with one host, and why."""

    host: Host
    outcome: str
    reason: str
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


@dataclass(frozen=True)
class Aws:
    """The clients a shutdown uses."""

    ec2: Any
    ssm: Any
    sns: Callable[[], Any]


def run(
    settings: ShutdownSettings, request: Request, aws: Aws, clock: Clock, log: report.Log, deadline: float
) -> dict[str, Any]:
    """One shutdown. `deadline` is when this invocation has to have reported, on the clock's monotonic scale."""
    late = request.why_not(clock.now(), settings.max_event_age)
    if late:
        report.alert(aws.sns, settings, log, "Shutdown not begun", [late])
        return {"ok": False, "dry_run": request.dry_run, "reason": late, "hosts": [], "foreign": [], "not_touched": []}
    tags = settings.tags(COMPONENT)
    strangers = hosts.strangers(aws.ec2, _identity(settings), ("pending", "running"))
    found = _find(aws.ec2, tags, strangers)
    log.info(
        "Found trading servers",
        hosts=len(found.hosts),
        foreign=list(found.foreign),
        not_touched=[stranger.host.id for stranger in strangers],
    )
    if request.dry_run:
        fates = {host.id: Fate(host, PLANNED, "would be drained and stopped") for host in found.hosts}
    else:
        fates = _shut_down(settings, aws, clock, log, found.hosts, deadline)
        fates = _check(lambda: _find(aws.ec2, tags, strangers).hosts, fates, clock, deadline)
    return _report(settings, aws, clock, log, list(fates.values()), found.foreign, strangers, request.dry_run)


def _identity(settings: ShutdownSettings) -> Identity:
    name = resource_name(settings.project, COMPONENT, settings.environment)
    return Identity(settings.tags(COMPONENT), name)


def _find(ec2: Any, tags: Mapping[str, str], strangers: Sequence[hosts.Stranger]) -> hosts.Found:
    """The environment's running trading servers, without those that only carry its tags."""
    found = hosts.find(ec2, tags, ("pending", "running"))
    borrowed = {stranger.host.id for stranger in strangers}
    return replace(found, hosts=tuple(host for host in found.hosts if host.id not in borrowed))


def _shut_down(
    settings: ShutdownSettings, aws: Aws, clock: Clock, log: report.Log, found: Sequence[Host], deadline: float
) -> dict[str, Fate]:
    known = {host.id: host for host in found}
    fates: dict[str, Fate] = {}
    waiting: dict[str, str] = dict.fromkeys(known, "not asked yet")
    if known:
        noted = hosts.note_drain(aws.ec2, sorted(known), clock.now())
        # Not a reason to keep positions: the hosts are drained all the same.
        for id_, why in noted.failed.items():
            log.warning("Drain not noted on the host", instance_id=id_, reason=why)
    for attempt in range(1, settings.drain_attempts + 1):
        if not waiting or clock.monotonic() >= deadline:
            break
        log.info("Draining", hosts=len(waiting), attempt=attempt)
        drained = drain(aws.ssm, settings, sorted(waiting), clock, deadline)
        # At once, not after the last straggler: if this invocation ends early, these are done.
        told = hosts.stop_or_end(aws.ec2, [known[id_] for id_ in sorted(drained.confirmed)])
        for id_, detail in drained.confirmed.items():
            refused = told.failed.get(id_)
            reason = f"drained ({detail}), but could not be stopped: {refused}" if refused else f"drained: {detail}"
            done = STOPPED
            if id_ in told.ended:
                done, reason = TERMINATED, f"{reason}; a one-time spot instance, launched anew at the next start"
            fates[id_] = Fate(known[id_], STUCK if refused else done, reason, attempt, True)
        for id_ in drained.unfinished:
            fates[id_] = Fate(known[id_], UNFINISHED, "time was up while it was draining", attempt)
        waiting = {
            id_: f"{reason} (attempt {attempt} of {settings.drain_attempts})" for id_, reason in drained.failed.items()
        }
        for id_, reason in waiting.items():
            fates[id_] = Fate(known[id_], failed_outcome(settings.on_drain_failure), reason, attempt)
    # Asked less often than allowed: that is for the next invocation, not for the policy.
    for id_, reason in waiting.items():
        attempts = fates[id_].attempts if id_ in fates else 0
        if attempts < settings.drain_attempts:
            fates[id_] = Fate(known[id_], UNFINISHED, f"time was up: {reason}", attempts)
    if settings.on_drain_failure is OnDrainFailure.STOP:
        told = hosts.stop_or_end(aws.ec2, [known[id_] for id_ in sorted(waiting) if fates[id_].outcome == FORCED])
        for id_, refused in told.failed.items():
            reason = f"{fates[id_].reason}, and could not be stopped: {refused}"
            fates[id_] = replace(fates[id_], outcome=STUCK, reason=reason)
    return fates


def _check(
    running: Callable[[], Sequence[Host]], fates: Mapping[str, Fate], clock: Clock, deadline: float
) -> dict[str, Fate]:
    """Look at what runs now. EC2's descriptions may lag behind its answers, so a stop gets a moment to show."""
    for pause in _LOOKS:
        after = look_again(fates, running())
        told = [id_ for id_, fate in fates.items() if fate.outcome in _TOLD]
        if all(after[id_].outcome != STUCK for id_ in told) or clock.monotonic() + pause >= deadline:
            break
        clock.sleep(pause)
    return after


def failed_outcome(policy: OnDrainFailure) -> str:
    """What becomes of a host that was asked as often as allowed and did not confirm."""
    return FORCED if policy is OnDrainFailure.STOP else KEPT


def look_again(fates: Mapping[str, Fate], running: Sequence[Host]) -> dict[str, Fate]:
    """Compare what was done with what runs now: the world may have moved meanwhile."""
    now = {host.id: host for host in running}
    after: dict[str, Fate] = {}
    for id_, fate in fates.items():
        if id_ in now and fate.outcome in _TOLD:
            after[id_] = replace(fate, outcome=STUCK, reason=f"{fate.reason}; told to stop, but still {now[id_].state}")
        elif id_ not in now and fate.outcome in (KEPT, STUCK, UNFINISHED):
            after[id_] = replace(fate, outcome=GONE, reason=f"does not run any more; before that: {fate.reason}")
        else:
            after[id_] = fate
    for id_ in now.keys() - fates.keys():
        after[id_] = Fate(now[id_], NEW, "was started during the shutdown")
    return after


def _report(
    settings: ShutdownSettings,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    fates: Sequence[Fate],
    foreign: Sequence[str],
    strangers: Sequence[hosts.Stranger],
    dry_run: bool,
) -> dict[str, Any]:
    for fate in fates:
        (log.info if fate.outcome in FINE else log.warning)(f"Host {fate.outcome}", **fate.as_dict())
    count = Counter(fate.outcome for fate in fates)
    off = [fate for fate in fates if fate.outcome not in FINE]
    summary = ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items())) or "no trading server runs"
    if not dry_run:
        log.metrics(
            clock.now().timestamp(),
            {
                "HostsFound": len(fates),
                "HostsDrained": sum(fate.drained for fate in fates),
                "HostsStopped": count[STOPPED] + count[TERMINATED] + count[FORCED],
                "HostsLeftRunning": count[KEPT] + count[STUCK] + count[NEW],
                "HostsUnfinished": count[UNFINISHED],
            },
        )
    log.info("Shutdown planned" if dry_run else "Shutdown ended", summary=summary)
    lines = [f"{fate.host.label}: {fate.outcome}, {fate.reason}" for fate in off]
    lines += [f"{id_}: came back from EC2 without our tags and was not touched" for id_ in foreign]
    lines += [
        f"{stranger.host.label}: {stranger.host.state}, not drained and not stopped, since {stranger.reason}. "
        f"{stranger.advice}"
        for stranger in strangers
    ]
    if lines and not dry_run:
        report.alert(aws.sns, settings, log, f"Shutdown needs attention: {summary}", lines)
    if count[UNFINISHED] or count[NEW]:
        raise ShutdownUnfinished(f"The shutdown is not finished: {summary}", remedy="The next invocation goes on")
    return {
        "ok": not lines,
        "dry_run": dry_run,
        "reason": summary,
        "hosts": [fate.as_dict() for fate in fates],
        "foreign": list(foreign),
        "not_touched": [
            {"instance_id": stranger.host.id, "model": stranger.host.model, "reason": stranger.reason}
            for stranger in strangers
        ],
    }
