# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""trading_server: make the fleet match the models, with the very code of algo.trading.model_fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError, InvalidInput
from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import halt_of, parameter_orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import CHANGING, STARTING
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ansible_collections.algo.trading.plugins.module_utils.models import Listing, invalid_message
from ansible_collections.algo.trading.plugins.module_utils.trading_day import add_models, begin_trading

from . import broker, new_models, report
from .events import Request
from .parameters import REMEDY, fleet_name, fleet_settings
from .settings import Settings


class FleetFailed(AlgoTradingError):
    """The fleet is not up to date. Ends the invocation with an error, so that Lambda retries it."""


@dataclass(frozen=True)
class Aws:
    """The clients the function uses. EC2's must not retry: the fleet's code paces and retries itself."""

    ec2: Any
    s3: Any
    ssm: Any
    sns: Callable[[], Any]
    secrets: Callable[[], Any]


def _check_settings(settings: Settings, fleet: FleetSettings) -> None:
    if not fleet.halt_parameter or not fleet.source.bucket:
        raise InvalidInput(
            f"The parameter {fleet_name(settings)} has no {'bucket' if fleet.halt_parameter else 'halt parameter'}",
            remedy=REMEDY,
        )


def run(
    settings: Settings, request: Request, aws: Aws, clock: Clock, log: report.Log, deadline: float
) -> dict[str, Any]:
    """Check the event and the halt flag, then let the fleet's code decide and act."""
    rule = begin_trading if request.published is None else add_models
    today = report.today(aws.sns, settings, log, request, clock.now(), rule, "Fleet not changed")
    if not today.act and not today.idle:
        return _nothing(today.reason, request, ok=not today.alert)
    try:
        fleet = fleet_settings(settings, aws.ssm)
        _check_settings(settings, fleet)
    except AlgoTradingError:
        if today.act:
            raise
        return _nothing(today.reason, request, ok=True)
    doubtful = _calendar_in_doubt(settings, request, aws, log, fleet)
    if doubtful or not today.act:
        return _nothing(doubtful or today.reason, request, ok=not doubtful)
    orders, unknown = parameter_orders(aws.ssm, fleet.halt_parameter)
    halt = halt_of(fleet.halt_parameter, orders, unknown, clock.now())
    if halt:
        log.warning("Halted", reason=halt)
    for order in orders.in_force(clock.now()):
        log.info("In force", order=order)
    if request.published is not None:
        fleet = new_models.careful(fleet)
    listing = fleet.source.listing(aws.s3)
    _check_models(log, fleet, listing)
    models = [model.as_dict() for model in listing.models]
    try:
        if request.published is not None:
            names = new_models.choose(fleet, listing.models, request.published, aws.ec2, clock, log, deadline)
            if not names:
                return _nothing("no model is new", request, ok=True)
            fleet = new_models.only(fleet, names)
        result = reconcile(
            fleet,
            models,
            aws.ec2,
            check=request.dry_run,
            clock=clock,
            deadline=deadline,
            halt=halt,
            orders=orders,
        )
    except FleetError as error:
        report.alert(aws.sns, settings, log, "Fleet not reconciled", [str(error)])
        raise FleetFailed(f"The fleet was not reconciled: {error}") from error
    return _report(settings, request, aws, clock, log, result, _kept_down(fleet, result))


def _calendar_in_doubt(settings: Settings, request: Request, aws: Aws, log: report.Log, fleet: FleetSettings) -> str:
    """Why nothing may start: the broker's calendar says something else about today. By hand, everything may."""
    if request.scheduled is None:
        return ""
    differs, unknown = broker.doubt(settings.calendar, request.scheduled, fleet.launch.configuration, aws.secrets)
    if differs:
        report.alert(aws.sns, settings, log, "Calendars disagree, nothing started", [differs])
    elif unknown:
        # One source is enough to trade; that the other is away is worth a look.
        log.warning("Calendar not compared", reason=unknown)
    return differs


def _kept_down(fleet: FleetSettings, result: FleetResult) -> list[str]:
    """Stopped servers that should start and are held, with the reason."""
    if fleet.power != "running":
        return []
    down = {row["instance_id"] for row in result.servers if row["state"] in ("stopped", "stopping")}
    lines = [line for line in result.plan.lines if line.held in STARTING and line.instance_id in down]
    return [f"{line.model}: {line.instance_id} stays stopped: {line.reason}" for line in lines]


def _nothing(reason: str, request: Request, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "dry_run": request.dry_run,
        "changed": False,
        "reason": reason,
        "plan": [],
        "unplaced": [],
        "held": [],
        "orders": [],
    }


def _report(
    settings: Settings,
    request: Request,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    result: FleetResult,
    kept_down: list[str],
) -> dict[str, Any]:
    lines = [{**line.as_dict(), "reason": result.reason(line)} for line in result.plan.lines]
    acting = [line for line in lines if line["action"] != "no-op"]
    for line in acting:
        log.info("Server", dry_run=request.dry_run, **line)
    changed = len([line for line in result.plan.of(*CHANGING) if result.status(line, check=False) == "done"])
    if request.published is not None:
        log.metrics(clock.now().timestamp(), {"ModelsAdded": changed})
    elif not request.dry_run:
        metrics = {"ServersWanted": len(result.servers), "ServersChanged": changed}
        metrics |= {"ServersUnplaced": len(result.unplaced), "Halted": int(bool(result.halt))}
        log.metrics(clock.now().timestamp(), metrics)
    log.info("Fleet planned" if request.dry_run else "Fleet reconciled", api_calls=result.api_calls)
    if result.held and (result.halt or request.published is not None) and not request.dry_run:
        report.alert(aws.sns, settings, log, "Trading is halted", _halted(settings, request, result))
    elif kept_down and not request.dry_run:
        report.alert(aws.sns, settings, log, "Servers stay stopped", kept_down)
    if result.failed:
        details = [f"{item['model']}: {item['kind']}, {item['reason']}" for item in result.unplaced]
        report.alert(aws.sns, settings, log, "Fleet not up to date", [result.message, *details])
        raise FleetFailed(result.message, remedy="The next invocation continues")
    return {
        "ok": bool(result.halt) or not kept_down,
        "dry_run": request.dry_run,
        "changed": result.changed,
        "reason": result.halt
        or (f"{len(acting)} of {len(lines)} servers differ" if acting else "every server is up to date"),
        "plan": lines,
        "unplaced": result.unplaced,
        "held": result.held,
        "orders": result.orders,
    }


def _halted(settings: Settings, request: Request, result: FleetResult) -> list[str]:
    """What does not start, and what to type when it may again: nothing else starts it on the same day."""
    play = f"ansible-playbook -i inventories/{settings.environment} playbooks/trading_server.yml"
    power = "" if request.published is not None else " -e aws_trading_server_once_power=running"
    after = f"After the halt (playbooks/resume.yml): {play}{power}. Otherwise the next start does it"
    held = [f"{entry['model']}: {entry['reason']}" for entry in result.held]
    return [*filter(None, [result.halt]), after, *held]


def _check_models(log: report.Log, fleet: FleetSettings, listing: Listing) -> None:
    """Report invalid keys and unpublished models, as the lookup does, and fail where the settings say so."""
    log.info("Listed models", models=len(listing.models), ignored=len(listing.invalid))
    if listing.invalid and fleet.source.on_invalid == "error":
        raise InvalidInput(invalid_message(fleet.source.bucket, listing.invalid))
    for invalid in listing.invalid[:20] if fleet.source.on_invalid == "warn" else ():
        log.warning("Key ignored", key=invalid.key, reason=invalid.reason)
    for model in listing.models:
        if model.status != "published":
            log.warning("Model not published", model=model.name, status=model.status)
