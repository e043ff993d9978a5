# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entry points; only these read the environment, the event and the clients."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import boto3
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import SystemClock
from ansible_collections.algo.trading.plugins.module_utils.trading_day import (
    Rule,
    begin_ingestion,
    begin_trading,
    end,
)
from botocore.config import Config

from . import events, fleet, ingestion, new_models, readiness, shutdown
from .report import Log, alert, completed_metric
from .settings import Settings, ShutdownSettings

# Seconds of Lambda's timeout kept for the report. The shutdown then also looks again and hands over.
_RESERVE = 30.0
_SHUTDOWN_RESERVE = 60.0


@cache
def _client(service: str, attempts: int = 8, seconds: float = 30) -> Any:
    """A client per service for the life of the process; adaptive pacing is left to those who can do better."""
    config = Config(
        connect_timeout=5, read_timeout=seconds, retries={"mode": "standard", "total_max_attempts": attempts}
    )
    # The service's name is not one of the literals that the type information lists.
    make: Any = boto3.client
    return make(service, config=config)


def _deadline(context: Any, clock: SystemClock, reserve: float = _RESERVE) -> float:
    """When to be done, on the clock's monotonic scale. By hand, without a context: in a quarter of an hour."""
    remaining = context.get_remaining_time_in_millis() / 1000 if context is not None else 900.0
    return clock.monotonic() + max(remaining - reserve, remaining / 2)


def _log(settings: Settings, context: Any) -> Log:
    return Log(settings, sys.stdout, str(getattr(context, "aws_request_id", "")))


def _with_alert(settings: Settings, log: Log, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run the work. Alert on a failure before Lambda sees the error and retries."""
    try:
        return work()
    except (fleet.FleetFailed, ingestion.IngestionFailed, shutdown.ShutdownUnfinished) as error:
        log.error("Failed", error=str(error))  # the alert with the details is out already
        raise
    except Exception as error:
        log.error("Failed", error=str(error), kind=type(error).__name__, trace=traceback.format_exc())
        try:
            alert(partial(_client, "sns"), settings, log, f"{settings.function} failed", [str(error)])
        except Exception as silent:  # the first error is the one to report
            log.error("Alert failed", error=str(silent))
        raise


def _completed(settings: Settings, log: Log, clock: SystemClock, request: events.Request, rule: Rule) -> None:
    """Count a scheduled event whose work is done, or that has nothing to do today; an alarm misses it otherwise."""
    if request.scheduled is None or request.published is not None or request.dry_run:
        return
    if request.why_not(clock.now(), settings.max_event_age):
        return
    today = rule(settings.calendar, request.scheduled)
    if today.act or today.idle:
        log.metrics(clock.now().timestamp(), {completed_metric(request.action): 1})


def alpaca_websocket(event: Any, context: Any) -> dict[str, Any]:
    """Start or stop the ingestion host."""
    clock = SystemClock()
    settings = Settings.from_env("alpaca_websocket", os.environ)
    log = _log(settings, context)

    def work() -> dict[str, Any]:
        request = events.parse(event, settings, (events.START, events.STOP))
        result = ingestion.run(settings, request, _client("ec2"), partial(_client, "sns"), clock, log)
        _completed(settings, log, clock, request, begin_ingestion if request.action == events.START else end)
        return result

    return _with_alert(settings, log, work)


def trading_server(event: Any, context: Any) -> dict[str, Any]:
    """Make the fleet match the models, add new ones, or check before the open that every server trades."""
    clock = SystemClock()
    settings = Settings.from_env("trading_server", os.environ)
    log = _log(settings, context)

    def work() -> dict[str, Any]:
        if new_models.is_batch(event):
            request = new_models.parse(event, settings, clock.now(), log)
        else:
            request = events.parse(event, settings, (events.START, events.CHECK), events.START)
        ec2, s3, ssm = _client("ec2", attempts=1), _client("s3"), _client("ssm")
        aws = fleet.Aws(ec2, s3, ssm, partial(_client, "sns"), partial(_client, "secretsmanager"))
        carry_out = readiness.run if request.action == events.CHECK else fleet.run
        result = carry_out(settings, request, aws, clock, log, _deadline(context, clock))
        _completed(settings, log, clock, request, begin_trading)
        return result

    return _with_alert(settings, log, work)


def trading_server_shutdown(event: Any, context: Any) -> dict[str, Any]:
    """Drain and stop the trading servers."""
    clock = SystemClock()
    settings = ShutdownSettings.from_env("trading_server_shutdown", os.environ)
    log = _log(settings, context)

    def work() -> dict[str, Any]:
        request = events.parse(event, settings, (events.STOP,), events.STOP, by_model=True)
        if request.handover:
            log.belongs_to(request.handover.run)
        # A call that hangs must not outlast what is kept of the time for the report.
        ec2, ssm = _client("ec2", 4, 8), _client("ssm", 4, 8)
        aws = shutdown.Aws(ec2, ssm, partial(_client, "sns", 4, 8), partial(_client, "lambda", 4, 8))
        result = shutdown.run(settings, request, aws, clock, log, _deadline(context, clock, _SHUTDOWN_RESERVE))
        if not result["handed_over"]:
            _completed(settings, log, clock, request, end)
        return result

    return _with_alert(settings, log, work)
