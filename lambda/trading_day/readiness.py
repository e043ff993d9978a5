# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check before the open: does every model's server trade? Nothing is changed; people are told which do not, and why.

A server trades if the fleet's own code finds it running and claimed, EC2 does not report it impaired, and the host says
so itself: `algo-host status`, by an SSM document that can do only that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import halt_of, parameter_orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import Orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import ADOPT, CREATE
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ansible_collections.algo.trading.plugins.module_utils.trading_day import begin_trading, report_by

from . import commands, hosts, report
from .events import Request
from .fleet import Aws
from .parameters import fleet_settings
from .settings import Settings

READY, HALTED, NOT_READY, UNKNOWN = "ready", "halted", "not_ready", "not_asked"
# Seconds that a host has for its answer, and between two rounds.
_ANSWER, _PAUSE = 30.0, 20.0
_NAMED = 20


@dataclass(frozen=True)
class Server:
    """One model's server: whether it trades, and why not."""

    model: str
    instance_id: str
    outcome: str
    reason: str
    unchecked: str = ""
    """Why it is not known whether EC2 reports it impaired."""

    @property
    def label(self) -> str:
        return f"{self.model} ({self.instance_id or 'no instance'})"


def run(
    settings: Settings, request: Request, aws: Aws, clock: Clock, log: report.Log, deadline: float
) -> dict[str, Any]:
    """Look until every server trades, or until people must be told."""
    today = report.today(aws.sns, settings, log, request, clock.now(), begin_trading, "Start not checked")
    if not today.act:
        return _nothing(today.reason, request, ok=not today.alert)
    fleet = fleet_settings(settings, aws.ssm)
    if fleet.power == "stopped":
        return _nothing("aws_trading_server_power is stopped, so no server is to trade", request, ok=True)
    orders, unknown = parameter_orders(aws.ssm, fleet.halt_parameter)
    halt = halt_of(fleet.halt_parameter, orders, unknown, clock.now())
    models = _models(fleet, aws.s3)
    until = min(deadline, clock.monotonic() + _patience(settings, request, clock))
    servers: list[Server] = []
    message = ""
    while True:
        known = {server.instance_id for server in servers if server.outcome == READY}
        found = _plan(fleet, models, aws, clock, deadline)
        message = found.message
        servers = [
            _ordered(server, halt, orders, clock)
            for server in _look(settings, found, known, request, aws, clock, deadline)
        ]
        waiting = any(server.outcome == NOT_READY for server in servers)
        if not waiting or request.dry_run or clock.monotonic() + _PAUSE + _ANSWER > until:
            break
        log.info("Not all trade yet", **_counts(servers))
        clock.sleep(_PAUSE)
    return _report(settings, request, aws, clock, log, servers, message)


def _patience(settings: Settings, request: Request, clock: Clock) -> float:
    """Seconds in which a server may still come up. Who asks by hand wants to know now."""
    by = report_by(settings.calendar, request.scheduled)
    return max((by - clock.now()).total_seconds(), 0.0) if by else 0.0


def _models(fleet: FleetSettings, s3: Any) -> list[dict[str, Any]]:
    return [model.as_dict() for model in fleet.source.listing(s3).models]


def _plan(
    fleet: FleetSettings, models: Sequence[Mapping[str, Any]], aws: Aws, clock: Clock, deadline: float
) -> FleetResult:
    """What the fleet's code would do now. Halts are left out: they are told apart from what is broken."""
    return reconcile(fleet, models, aws.ec2, check=True, clock=clock, deadline=deadline)


def _look(
    settings: Settings,
    found: FleetResult,
    known: set[str],
    request: Request,
    aws: Aws,
    clock: Clock,
    deadline: float,
) -> list[Server]:
    """Each wanted server, as AWS and the host itself have it. A host that has said it trades is not asked again."""
    up = {
        row["instance_id"]: row
        for row in found.servers
        if row["state"] == "running" and row["action"] not in (CREATE, ADOPT)
    }
    said: dict[str, tuple[str, str]] = dict.fromkeys(known, (READY, "it said so before"))
    if request.dry_run:
        said = dict.fromkeys(up, (UNKNOWN, "would be asked"))
    said |= _ask(settings, sorted(up.keys() - said.keys()), aws, clock, deadline)
    checks = hosts.checks(aws.ec2, sorted(up))
    said |= {id_: (NOT_READY, why) for id_, why in checks.impaired.items()}
    return [
        Server(row["name"], row["instance_id"], *said[row["instance_id"]], checks.unknown.get(row["instance_id"], ""))
        if row["instance_id"] in up
        else Server(row["name"], row["instance_id"], NOT_READY, _why_not_up(row))
        for row in found.servers
    ]


def _why_not_up(row: Mapping[str, Any]) -> str:
    return f"{row['state'] or 'no server runs'}: {row['problem'] or row['reason']}"


def _ask(settings: Settings, ids: Sequence[str], aws: Aws, clock: Clock, deadline: float) -> dict[str, tuple[str, str]]:
    said: dict[str, tuple[str, str]] = {}

    def healthy(answers: Mapping[str, str]) -> None:
        said.update({id_: (READY, text) for id_, text in answers.items()})

    comment = f"Check of the start of {settings.project} {settings.environment}"
    command = commands.Command(settings.status_document, "question", comment, _ANSWER)
    rest = commands.send(aws.ssm, command, ids, clock, deadline, healthy, _told)
    said.update({id_: (NOT_READY, why) for id_, why in (rest.failed | rest.unfinished).items()})
    return said


def _told(answer: commands.Answer) -> str:
    """What `algo-host status` says of the trader; of any other output, SSM's status and the last line."""
    lines = dict(line.split(":", 1) for line in answer.output.splitlines() if ":" in line)
    facts = {name.strip(): text.strip() for name, text in lines.items()}
    if "unit" not in facts:
        return answer.detail
    parts = [f"trader {facts['unit']}"]
    if not answer.succeeded:
        parts.append(f"last loop {facts.get('last loop', 'unknown')}")
        boot = facts.get("boot", "")
        parts += [f"boot {boot}"] if boot and not boot.startswith("ok") else []
    return "; ".join(parts)[:400]


def _ordered(server: Server, halt: str, orders: Orders, clock: Clock) -> Server:
    """A server that is halted does not trade, because somebody wants that."""
    why = halt or orders.halted(server.model, clock.now())
    return dataclasses.replace(server, outcome=HALTED, reason=why) if why else server


def _counts(servers: Sequence[Server]) -> dict[str, int]:
    return {name: sum(server.outcome == name for server in servers) for name in (READY, HALTED, NOT_READY)}


def _nothing(reason: str, request: Request, ok: bool) -> dict[str, Any]:
    return {"ok": ok, "dry_run": request.dry_run, "reason": reason, "servers": []}


def _report(
    settings: Settings,
    request: Request,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    servers: Sequence[Server],
    message: str,
) -> dict[str, Any]:
    counts = _counts(servers)
    missing = [server for server in servers if server.outcome == NOT_READY]
    halted = [server for server in servers if server.outcome == HALTED]
    for server in servers:
        (log.warning if server.outcome == NOT_READY else log.info)(f"Server {server.outcome}", **vars(server))
    summary = f"{len(missing)} of {len(servers)} servers do not trade" if missing else f"{counts[READY]} servers trade"
    summary += f", {len(halted)} halted" if halted else ""
    if not request.dry_run:
        metrics = {"ServersReady": counts[READY], "ServersNotReady": len(missing), "ServersHalted": len(halted)}
        log.metrics(clock.now().timestamp(), metrics)
    log.info("Start checked", summary=summary)
    lines = [f"{server.label}: {server.reason}" for server in missing]
    if message:
        lines.append(f"The fleet's plan: {message}")
    unchecked = [server for server in servers if server.unchecked]
    if unchecked:
        lines.append(
            f"{len(unchecked)} servers may be impaired, beginning with {unchecked[0].label}: {unchecked[0].unchecked}"
        )
    as_ordered = [f"{server.label}: halted, {server.reason}" for server in halted]
    if (lines or as_ordered) and not request.dry_run:
        what = "Start needs attention" if lines else "Start as ordered"
        command = [_command(settings, missing)] if missing else []
        report.alert(aws.sns, settings, log, f"{what}: {summary}", [*command, *lines, *as_ordered])
    return {
        "ok": not lines,
        "dry_run": request.dry_run,
        "reason": summary,
        "servers": [vars(server) for server in servers],
    }


def _command(settings: Settings, missing: Sequence[Server]) -> str:
    """What to type. A server that runs and does not trade is drained first, so that its start begins anew."""
    play = f"ansible-playbook -i inventories/{settings.environment} playbooks"
    start = f"{play}/trading_server.yml -e aws_trading_server_once_power=running"
    text = f"To look: {play}/status.yml. To start what does not run: {start}"
    models = [server.model for server in missing if server.instance_id]
    if not models:
        return text
    some = f" (the first {_NAMED} of {len(models)})" if len(models) > _NAMED else ""
    return (
        f"{text}. To restart what runs and does not trade, before that{some}: {play}/drain.yml "
        f"-e 'algo_models={','.join(models[:_NAMED])}' -e 'algo_reason=\"does not trade before the open\"'"
    )
