# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""trading_server_shutdown: drain every running trading server of the environment, stop those that confirmed.

What is left to do is read from EC2 every time, and a drain may be asked for twice, so a second invocation at once, or
one after a crash, comes to the same end. An invocation whose time runs out invokes the function again, with what is
left and how often each of these was asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils._naming import resource_name
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import parameter_orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import NO_ORDERS, Orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import Identity
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.trading_day import end

from . import handover, hosts, report
from .events import Request
from .parameters import Protection
from .results import (
    FINE,
    FORCED,
    HELD,
    LEFT_RUNNING,
    OPEN,
    PLANNED,
    RETAGGED,
    STOPPED,
    STUCK,
    TERMINATED,
    UNFINISHED,
    HostResult,
    retagged,
)
from .rounds import Rounds
from .settings import ShutdownSettings

COMPONENT = "trading_server"
_RUNNING = ("pending", "running")
# Models that the command in an alert names; more make it unreadable.
_NAMED = 20


class ShutdownUnfinished(AlgoTradingError):
    """Some hosts are not finished. Ends the invocation with an error, so that Lambda retries it."""


@dataclass(frozen=True)
class Aws:
    """The clients a shutdown uses."""

    ec2: Any
    ssm: Any
    sns: Callable[[], Any]
    functions: Callable[[], Any]


@dataclass(frozen=True)
class Evening:
    """What a report needs besides the results."""

    request: Request
    foreign: tuple[str, ...]
    strangers: tuple[hosts.Stranger, ...]
    protection: Protection
    blind: str = ""
    # Why it is not known which hosts are held.
    holds: str = ""


def run(
    settings: ShutdownSettings, request: Request, aws: Aws, clock: Clock, log: report.Log, deadline: float
) -> dict[str, Any]:
    """One shutdown. `deadline` is when this invocation must have reported, on the clock's monotonic scale."""
    today = report.today(aws.sns, settings, log, request, clock.now(), end, "Shutdown not started")
    if not today.act:
        return _nothing(today.reason, request, ok=not today.alert)
    seen = hosts.running(aws.ec2, _identity(settings), _RUNNING)
    strangers = tuple(stranger for stranger in seen.strangers if request.chosen(stranger.host.model))
    found = _find(aws.ec2, settings.tags(COMPONENT), seen.strangers, request)
    if request.models:
        log.info("Only these models", models=sorted(request.models), reason=request.reason)
    log.info(
        "Found trading servers",
        hosts=len(found.hosts),
        foreign=list(found.foreign),
        not_touched=[stranger.host.id for stranger in strangers],
    )
    protection = Protection.read(settings, aws.ssm) if found.hosts else Protection()
    # Without the parameter nothing is ordered; that it is missing is the start's concern.
    flag = settings.parameter("halt")
    orders, unknown = parameter_orders(aws.ssm, flag, planned="false") if found.hosts else (NO_ORDERS, "")
    held = {host.id: why for host in found.hosts if (why := _held(orders, request, host, clock))}
    kept = [HostResult(host, HELD, held[host.id]) for host in found.hosts if host.id in held]
    todo = [host for host in found.hosts if host.id not in held]
    evening = Evening(request, found.foreign, strangers, protection, holds=unknown)
    if request.dry_run:
        planned = [HostResult(host, PLANNED, "would be drained and stopped") for host in todo]
        return _report(settings, aws, clock, log, [*planned, *kept], evening)
    rounds = _rounds(settings, request, aws, clock, log, deadline, protection, orders)
    rounds.expect(todo, request.handover.attempts if request.handover else {})
    results = rounds.run()
    idle = sorted(id_ for id_, result in results.items() if result.drained and result.outcome == STUCK)
    noted = hosts.note_drain(aws.ec2, idle, clock.now(), confirmed=True)
    for id_, why in noted.failed.items():
        log.warning("Drain tag not written on the host", instance_id=id_, reason=why)
    lost = _lost(settings, request, results, seen)
    evening = replace(evening, blind=rounds.blind)
    return _report(settings, aws, clock, log, [*results.values(), *lost, *kept], evening)


def _rounds(
    settings: ShutdownSettings,
    request: Request,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    deadline: float,
    protection: Protection,
    orders: Orders,
) -> Rounds:
    def wanted(host: hosts.Host) -> bool:
        # A host that lost its model's tag was chosen before that.
        return host.id in rounds.results or (request.chosen(host.model) and not _held(orders, request, host, clock))

    def look() -> hosts.Running:
        seen = hosts.running(aws.ec2, _identity(settings), _RUNNING)
        return replace(seen, ours={id_: host for id_, host in seen.ours.items() if wanted(host)})

    tags = settings.tags(COMPONENT)
    rounds = Rounds(settings, aws.ec2, aws.ssm, clock, log, look, protection, deadline, tags)
    return rounds


def _held(orders: Orders, request: Request, host: hosts.Host, clock: Clock) -> str:
    """Which order keeps the host running. A person who names models means them, whatever was ordered before."""
    return "" if request.models else orders.held(host.model, clock.now())


def _lost(
    settings: ShutdownSettings, request: Request, results: Mapping[str, HostResult], seen: hosts.Running
) -> list[HostResult]:
    """Hosts that an earlier invocation left to this one, that run, and that are not ours any more."""
    left = request.handover.attempts if request.handover else {}
    return [
        HostResult(seen.others[id_], RETAGGED, retagged(seen.others[id_], settings.tags(COMPONENT)), attempts)
        for id_, attempts in left.items()
        if id_ in seen.others and id_ not in results
    ]


def _nothing(reason: str, request: Request, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "dry_run": request.dry_run,
        "handed_over": False,
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
    found = hosts.find(ec2, tags, _RUNNING)
    borrowed = {stranger.host.id for stranger in strangers}
    chosen = (host for host in found.hosts if host.id not in borrowed and request.chosen(host.model))
    return replace(found, hosts=tuple(chosen))


def _report(
    settings: ShutdownSettings,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    results: Sequence[HostResult],
    evening: Evening,
) -> dict[str, Any]:
    request, dry_run = evening.request, evening.request.dry_run
    for result in results:
        (log.info if result.outcome in FINE else log.warning)(f"Host {result.outcome}", **result.as_dict())
    count = Counter(result.outcome for result in results)
    summary = ", ".join(f"{number} {outcome}" for outcome, number in sorted(count.items())) or "no trading server runs"
    if not dry_run:
        log.metrics(
            clock.now().timestamp(),
            {
                "HostsFound": len(results),
                "HostsDrained": sum(result.drained for result in results),
                "HostsStopped": count[STOPPED] + count[TERMINATED] + count[FORCED],
                "HostsLeftRunning": sum(count[outcome] for outcome in LEFT_RUNNING),
                "HostsUnfinished": count[UNFINISHED],
            },
        )
    log.info("Shutdown planned" if dry_run else "Shutdown ended", summary=summary)
    missing = sorted(request.models - {result.host.model for result in results})
    lines = _lines(settings, results, evening, missing)
    unfinished = not dry_run and (any(count[outcome] for outcome in OPEN) or bool(evening.blind))
    passed_on = False
    if unfinished:
        try:
            passed_on = handover.send(settings, aws.functions, clock, log, request, results)
        except AlgoTradingError as error:
            lines.insert(0, f"The function could not hand over to itself: {error} Lambda retries it")
    # First what to do: a long alert is cut.
    if passed_on:
        number = request.handover.number + 1 if request.handover else 1
        times = f"{number} of at most {handover.MOST} times"
        lines.insert(0, f"The function continues by itself with what is unfinished ({times})")
    elif command := _command(settings, results):
        lines.insert(0, command)
    held = [f"{r.host.label}: keeps running, {r.reason}" for r in results if r.outcome == HELD]
    if (lines or held) and not dry_run:
        what = "Shutdown continues" if passed_on else "Shutdown needs attention" if lines else "Shutdown as ordered"
        report.alert(aws.sns, settings, log, f"{what}: {summary}", [*lines, *held])
    if unfinished and not passed_on:
        raise ShutdownUnfinished(f"The shutdown is not finished: {summary}", remedy="The next invocation continues")
    return {
        "ok": not lines,
        "dry_run": dry_run,
        "handed_over": passed_on,
        "reason": summary,
        "hosts": [result.as_dict() for result in results],
        "missing": missing,
        "foreign": list(evening.foreign),
        "not_touched": [
            {"instance_id": stranger.host.id, "model": stranger.host.model, "reason": stranger.reason}
            for stranger in evening.strangers
        ],
    }


def _lines(
    settings: ShutdownSettings, results: Sequence[HostResult], evening: Evening, missing: Sequence[str]
) -> list[str]:
    """What people must know, a line each."""
    lines = [f"{r.host.label}: {r.outcome}, {r.reason}" for r in results if r.outcome not in FINE]
    lines += [
        f"{id_}: was returned by EC2 without this environment's tags and was not touched" for id_ in evening.foreign
    ]
    lines += [
        f"{stranger.host.label}: {stranger.host.state}, not drained and not stopped: {stranger.reason}. "
        f"{stranger.advice}"
        for stranger in evening.strangers
    ]
    lines += [f"{model}: no trading server of this model runs" for model in missing]
    if evening.protection.problem:
        lines.append(f"No one-time spot instance is terminated: {evening.protection.problem}")
    if evening.holds:
        lines.append(f"No server was held, because the orders are not known: {evening.holds}")
    if evening.blind:
        lines.append(f"Whether the servers stopped is not known: {evening.blind}")
    return lines


def _command(settings: ShutdownSettings, results: Sequence[HostResult]) -> str:
    """What to type for the servers that still run."""
    models = sorted({r.host.model for r in results if r.outcome in LEFT_RUNNING | OPEN and r.host.model})
    if not models:
        return ""
    some = f" (the first {_NAMED} of {len(models)} models)" if len(models) > _NAMED else ""
    return (
        f"To look: ansible-playbook -i inventories/{settings.environment} playbooks/status.yml. To try again{some}: "
        f"ansible-playbook -i inventories/{settings.environment} playbooks/drain.yml "
        f"-e 'algo_models={','.join(models[:_NAMED])}' -e 'algo_reason=\"left running by the shutdown\"'"
    )
