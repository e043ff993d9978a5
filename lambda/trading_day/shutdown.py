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
from functools import partial
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils._naming import resource_name
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import Identity
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.trading_day import end

from . import hosts, report
from .drain import drain
from .events import Request
from .hosts import Host
from .parameters import Protection
from .settings import OnDrainFailure, ShutdownSettings

COMPONENT = "trading_server"

# Outcomes of a host.
PLANNED = "planned"  # dry run
STOPPED = "stopped"  # confirmed its drain; StopInstances accepted
TERMINATED = "terminated"  # the same, but terminated: one-time spot instances cannot be stopped
FORCED = "stopped_undrained"  # did not confirm; stopped by policy
KEPT = "left_running"  # did not confirm; left running by policy
STUCK = "stop_failed"  # EC2 refused to stop it, or it still runs
UNFINISHED = "unfinished"  # timed out; the next invocation continues
GONE = "gone"  # stopped or terminated by somebody else during the shutdown
NEW = "appeared"  # started by somebody else during the shutdown
_CHECK_DELAYS = (2.0, 4.0, 8.0, 0.0)
FINE = frozenset({PLANNED, STOPPED, TERMINATED, GONE})
_STOP_ORDERED = frozenset({STOPPED, TERMINATED, FORCED})


class ShutdownUnfinished(AlgoTradingError):
    """Some hosts are not finished. Ends the invocation with an error, so that Lambda retries it."""


@dataclass(frozen=True)
class HostResult:
    """Result for one host: the outcome and its reason."""

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
    """One shutdown. `deadline` is when this invocation must have reported, on the clock's monotonic scale."""
    late = request.why_not(clock.now(), settings.max_event_age)
    if late:
        report.alert(aws.sns, settings, log, "Shutdown not started", [late])
        return _nothing(late, request, ok=False)
    today = end(settings.calendar, request.scheduled)
    report.calendar(aws.sns, settings, log, today)
    if not today.act:
        return _nothing(today.reason, request, ok=not today.alert)
    strangers = [
        stranger
        for stranger in hosts.strangers(aws.ec2, _identity(settings), ("pending", "running"))
        if request.chosen(stranger.host.model)
    ]
    find = partial(_find, aws.ec2, settings.tags(COMPONENT), strangers, request)
    found = find()
    if request.models:
        log.info("Only these models", models=sorted(request.models), reason=request.reason)
    log.info(
        "Found trading servers",
        hosts=len(found.hosts),
        foreign=list(found.foreign),
        not_touched=[stranger.host.id for stranger in strangers],
    )
    protection = Protection.read(settings, aws.ssm) if found.hosts else Protection()
    if request.dry_run:
        results = {host.id: HostResult(host, PLANNED, "would be drained and stopped") for host in found.hosts}
    else:
        results = _shut_down(settings, aws, clock, log, found.hosts, protection, deadline)
        results = _check(lambda: find().hosts, results, clock, deadline)
        idle = sorted(id_ for id_, result in results.items() if result.drained and result.outcome == STUCK)
        noted = hosts.note_drain(aws.ec2, idle, clock.now(), confirmed=True)
        for id_, why in noted.failed.items():
            log.warning("Drain tag not written on the host", instance_id=id_, reason=why)
    return _report(settings, aws, clock, log, list(results.values()), found.foreign, strangers, protection, request)


def _nothing(reason: str, request: Request, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "dry_run": request.dry_run,
        "reason": reason,
        "hosts": [],
        "missing": [],
        "foreign": [],
        "not_touched": [],
    }


def _identity(settings: ShutdownSettings) -> Identity:
    name = resource_name(settings.project, COMPONENT, settings.environment)
    return Identity(settings.tags(COMPONENT), name)


def _find(ec2: Any, tags: Mapping[str, str], strangers: Sequence[hosts.Stranger], request: Request) -> hosts.Found:
    """The environment's running trading servers that were asked for, without those that only carry its tags."""
    found = hosts.find(ec2, tags, ("pending", "running"))
    borrowed = {stranger.host.id for stranger in strangers}
    chosen = (host for host in found.hosts if host.id not in borrowed and request.chosen(host.model))
    return replace(found, hosts=tuple(chosen))


def _shut_down(
    settings: ShutdownSettings,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    found: Sequence[Host],
    protection: Protection,
    deadline: float,
) -> dict[str, HostResult]:
    known = {host.id: host for host in found}
    results: dict[str, HostResult] = {}
    waiting: dict[str, str] = dict.fromkeys(known, "drain not requested yet")
    if known:
        noted = hosts.note_drain(aws.ec2, sorted(known), clock.now())
        # Not a reason to keep positions: drain the hosts anyway.
        for id_, why in noted.failed.items():
            log.warning("Drain tag not written on the host", instance_id=id_, reason=why)
    for attempt in range(1, settings.drain_attempts + 1):
        if not waiting or clock.monotonic() >= deadline:
            break
        log.info("Draining", hosts=len(waiting), attempt=attempt)
        drained = drain(aws.ssm, settings, sorted(waiting), clock, deadline)
        # At once, not after the slowest: if this invocation ends early, these are done.
        told = hosts.stop_or_end(aws.ec2, [known[id_] for id_ in sorted(drained.confirmed)], protection.why_not_end)
        for id_, detail in drained.confirmed.items():
            refused = told.failed.get(id_)
            reason = f"drained ({detail}), but could not be stopped: {refused}" if refused else f"drained: {detail}"
            done = STOPPED
            if id_ in told.ended:
                done, reason = (
                    TERMINATED,
                    f"{reason}; one-time spot instance, terminated; the next start launches a new one",
                )
            results[id_] = HostResult(known[id_], STUCK if refused else done, reason, attempt, True)
        for id_ in drained.unfinished:
            results[id_] = HostResult(known[id_], UNFINISHED, "timed out while it was draining", attempt)
        waiting = {
            id_: f"{reason} (attempt {attempt} of {settings.drain_attempts})" for id_, reason in drained.failed.items()
        }
        for id_, reason in waiting.items():
            results[id_] = HostResult(known[id_], failed_outcome(settings.on_drain_failure), reason, attempt)
    # Fewer attempts than allowed: the next invocation continues, the policy does not apply yet.
    for id_, reason in waiting.items():
        attempts = results[id_].attempts if id_ in results else 0
        if attempts < settings.drain_attempts:
            results[id_] = HostResult(known[id_], UNFINISHED, f"timed out: {reason}", attempts)
    if settings.on_drain_failure is OnDrainFailure.STOP:
        forced = [known[id_] for id_ in sorted(waiting) if results[id_].outcome == FORCED]
        told = hosts.stop_or_end(aws.ec2, forced, protection.why_not_end)
        for id_, refused in told.failed.items():
            reason = f"{results[id_].reason}, and could not be stopped: {refused}"
            results[id_] = replace(results[id_], outcome=STUCK, reason=reason)
    return results


def _check(
    running: Callable[[], Sequence[Host]], results: Mapping[str, HostResult], clock: Clock, deadline: float
) -> dict[str, HostResult]:
    """Describe the hosts again. EC2's descriptions lag, so a stop gets a few seconds to show."""
    for pause in _CHECK_DELAYS:
        after = look_again(results, running())
        told = [id_ for id_, result in results.items() if result.outcome in _STOP_ORDERED]
        if all(after[id_].outcome != STUCK for id_ in told) or clock.monotonic() + pause >= deadline:
            break
        clock.sleep(pause)
    return after


def failed_outcome(policy: OnDrainFailure) -> str:
    """Outcome of a host that did not confirm after all drain attempts."""
    return FORCED if policy is OnDrainFailure.STOP else KEPT


def look_again(results: Mapping[str, HostResult], running: Sequence[Host]) -> dict[str, HostResult]:
    """Compare the results with what runs now; both may differ."""
    now = {host.id: host for host in running}
    after: dict[str, HostResult] = {}
    for id_, result in results.items():
        if id_ in now and result.outcome in _STOP_ORDERED:
            after[id_] = replace(
                result,
                outcome=STUCK,
                reason=f"{result.reason}; StopInstances was accepted, but it is still {now[id_].state}",
            )
        elif id_ not in now and result.outcome in (KEPT, STUCK, UNFINISHED):
            after[id_] = replace(result, outcome=GONE, reason=f"no longer running; before that: {result.reason}")
        else:
            after[id_] = result
    for id_ in now.keys() - results.keys():
        after[id_] = HostResult(now[id_], NEW, "was started during the shutdown")
    return after


def _report(
    settings: ShutdownSettings,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    results: Sequence[HostResult],
    foreign: Sequence[str],
    strangers: Sequence[hosts.Stranger],
    protection: Protection,
    request: Request,
) -> dict[str, Any]:
    dry_run = request.dry_run
    for result in results:
        (log.info if result.outcome in FINE else log.warning)(f"Host {result.outcome}", **result.as_dict())
    count = Counter(result.outcome for result in results)
    off = [result for result in results if result.outcome not in FINE]
    summary = ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items())) or "no trading server runs"
    if not dry_run:
        log.metrics(
            clock.now().timestamp(),
            {
                "HostsFound": len(results),
                "HostsDrained": sum(result.drained for result in results),
                "HostsStopped": count[STOPPED] + count[TERMINATED] + count[FORCED],
                "HostsLeftRunning": count[KEPT] + count[STUCK] + count[NEW],
                "HostsUnfinished": count[UNFINISHED],
            },
        )
    log.info("Shutdown planned" if dry_run else "Shutdown ended", summary=summary)
    lines = [f"{result.host.label}: {result.outcome}, {result.reason}" for result in off]
    lines += [f"{id_}: was returned by EC2 without this environment's tags and was not touched" for id_ in foreign]
    lines += [
        f"{stranger.host.label}: {stranger.host.state}, not drained and not stopped: {stranger.reason}. "
        f"{stranger.advice}"
        for stranger in strangers
    ]
    missing = sorted(request.models - {result.host.model for result in results})
    lines += [f"{model}: no trading server of this model runs" for model in missing]
    if protection.problem:
        lines.append(f"No one-time spot instance is terminated: {protection.problem}")
    if lines and not dry_run:
        report.alert(aws.sns, settings, log, f"Shutdown needs attention: {summary}", lines)
    if count[UNFINISHED] or count[NEW]:
        raise ShutdownUnfinished(f"The shutdown is not finished: {summary}", remedy="The next invocation continues")
    return {
        "ok": not lines,
        "dry_run": dry_run,
        "reason": summary,
        "hosts": [result.as_dict() for result in results],
        "missing": missing,
        "foreign": list(foreign),
        "not_touched": [
            {"instance_id": stranger.host.id, "model": stranger.host.model, "reason": stranger.reason}
            for stranger in strangers
        ],
    }
