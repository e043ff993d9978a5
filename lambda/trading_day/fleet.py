# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""trading_server: make the fleet match the models, with the very code of algo.trading.model_fleet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import (
    AlgoTradingError,
    InvalidInput,
    NotFound,
    error_code,
    from_aws,
)
from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ansible_collections.algo.trading.plugins.module_utils.models import Listing, list_models

from . import report
from .events import Request
from .settings import FleetFunctionSettings

_NOT_HALTED = frozenset({"", "false", "off", "no", "0"})


class FleetFailed(AlgoTradingError):
    """The fleet is not as wanted. Ends the invocation as an error, so that Lambda makes another one."""


@dataclass(frozen=True)
class Aws:
    """The clients the function uses. EC2's must not retry: the fleet's code paces and retries itself."""

    ec2: Any
    s3: Any
    ssm: Any
    sns: Callable[[], Any]


def halted(flag: str | None) -> bool:
    """Whether trading is halted. What can't be understood halts."""
    return flag is not None and flag.strip().lower() not in _NOT_HALTED


def fleet_settings(settings: FleetFunctionSettings, value: str | None) -> FleetSettings:
    """The fleet's settings as the environment's parameter has them, refused if they are another environment's."""
    name = settings.parameter("trading_server/fleet")
    if value is None:
        raise NotFound(f"The parameter {name} does not exist", remedy="Run playbooks/trading_server.yml")
    try:
        data = json.loads(value)
        fleet = FleetSettings.from_dict(data if isinstance(data, dict) else {})
    except (ValueError, FleetError) as error:
        raise InvalidInput(
            f"The parameter {name} is not usable: {error}", remedy="Run playbooks/trading_server.yml"
        ) from error
    if (fleet.project, fleet.environment) != (settings.project, settings.environment):
        raise InvalidInput(
            f"The parameter {name} is about {fleet.project} {fleet.environment}, "
            f"this function is {settings.project} {settings.environment}",
            remedy="Run playbooks/trading_server.yml",
        )
    return fleet


def run(
    settings: FleetFunctionSettings, request: Request, aws: Aws, clock: Clock, log: report.Log, deadline: float
) -> dict[str, Any]:
    """Look whether anything may be started, then let the fleet's own code decide and act."""
    late = request.why_not(clock.now(), settings.max_event_age)
    if late:
        report.alert(aws.sns, settings, log, "Fleet left as it is", [late])
        return _nothing(late, request, ok=False)
    flag = _parameter(aws.ssm, settings.parameter("halt"))
    if halted(flag):
        reason = f"trading is halted: {settings.parameter('halt')} is {flag!r}"
        log.warning("Halted", reason=reason)
        log.metrics(clock.now().timestamp(), {"Halted": 1})
        return _nothing(reason, request, ok=True)
    fleet = fleet_settings(settings, _parameter(aws.ssm, settings.parameter("trading_server/fleet")))
    listing = list_models(aws.s3, settings.model_bucket)
    _log_models(log, listing)
    try:
        result = reconcile(
            fleet,
            [model.as_dict() for model in listing.models],
            aws.ec2,
            check=request.dry_run,
            clock=clock,
            deadline=deadline,
        )
    except FleetError as error:
        report.alert(aws.sns, settings, log, "Fleet not reconciled", [str(error)])
        raise FleetFailed(f"The fleet was not reconciled: {error}") from error
    return _report(settings, request, aws, clock, log, result)


def _nothing(reason: str, request: Request, ok: bool) -> dict[str, Any]:
    return {
        "ok": ok,
        "dry_run": request.dry_run,
        "changed": False,
        "reason": reason,
        "plan": [],
        "unplaced": [],
        "held": [],
    }


def _report(
    settings: FleetFunctionSettings,
    request: Request,
    aws: Aws,
    clock: Clock,
    log: report.Log,
    result: FleetResult,
) -> dict[str, Any]:
    lines = [line.as_dict() for line in result.plan.lines]
    acting = [line for line in lines if line["action"] != "no-op"]
    for line in acting:
        log.info("Server", dry_run=request.dry_run, **line)
    if not request.dry_run:
        log.metrics(
            clock.now().timestamp(),
            {
                "ServersWanted": len(result.servers),
                "ServersChanged": len([line for line in acting if line["action"] != "hold"]),
                "ServersUnplaced": len(result.unplaced),
                "Halted": 0,
            },
        )
    log.info("Fleet planned" if request.dry_run else "Fleet reconciled", api_calls=result.api_calls)
    if result.failed:
        details = [f"{item['model']}: {item['kind']}, {item['reason']}" for item in result.unplaced]
        report.alert(aws.sns, settings, log, "Fleet not as wanted", [result.message, *details])
        raise FleetFailed(result.message, remedy="The next invocation goes on")
    return {
        "ok": True,
        "dry_run": request.dry_run,
        "changed": result.changed,
        "reason": f"{len(acting)} of {len(lines)} servers differ" if acting else "every server is as wanted",
        "plan": lines,
        "unplaced": result.unplaced,
        "held": result.held,
    }


def _log_models(log: report.Log, listing: Listing) -> None:
    log.info("Listed models", models=len(listing.models), ignored=len(listing.invalid))
    for invalid in listing.invalid[:20]:
        log.warning("Key ignored", key=invalid.key, reason=invalid.reason)
    for model in listing.models:
        if model.status != "published":
            log.warning("Model not published", model=model.name, status=model.status)


def _parameter(ssm: Any, name: str) -> str | None:
    try:
        return str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except Exception as error:
        if error_code(error) == "ParameterNotFound":
            return None
        raise from_aws(f"read the parameter {name}", error) from error
