# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Handing over: a shutdown whose time is over invokes its own function again, with what is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import from_aws
from ansible_collections.algo.trading.plugins.module_utils._naming import resource_name
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock

from .events import Handover, Request
from .report import Log
from .results import LEFT_RUNNING, OPEN, RETAGGED, HostResult
from .settings import Settings

# Two hours of 15 minutes each. Lambda itself ends a function's chain of calls to itself after 16:
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
MOST = 8


def following(request: Request, run: str, results: Sequence[HostResult], now: datetime) -> Handover:
    """What the next invocation is told. Of hosts that had all their attempts, too: they are not drained again."""
    before = request.handover
    left = {result.host.id: result.attempts for result in results if _is_left(result)}
    return Handover(before.run if before else run, before.number + 1 if before else 1, now, left)


def _is_left(result: HostResult) -> bool:
    return result.outcome in (*OPEN, RETAGGED) or (result.outcome in LEFT_RUNNING and not result.drained)


def send(
    settings: Settings,
    functions: Callable[[], Any],
    clock: Clock,
    log: Log,
    request: Request,
    results: Sequence[HostResult],
) -> bool:
    """Hand over to the function itself; returns False if that was done as often as it may be.

    :raises AlgoTradingError: if Lambda does not take it.
    """
    if request.handover and request.handover.number >= MOST:
        log.warning("Not handed over again", number=request.handover.number)
        return False
    told = following(request, log.run, results, clock.now())
    event: dict[str, Any] = {
        "action": request.action,
        "environment": settings.environment,
        "handover": told.as_dict(),
        **({"scheduled_time": request.scheduled.isoformat()} if request.scheduled else {}),
        **({"models": sorted(request.models)} if request.models else {}),
        **({"reason": request.reason} if request.reason else {}),
    }
    name = resource_name(settings.project, settings.function, settings.environment)
    try:
        # Event: nobody waits for it, and Lambda retries it.
        functions().invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode())
    except Exception as error:
        raise from_aws(f"invoke the function {name}", error) from error
    log.info("Handed over", number=told.number, hosts=len(told.attempts))
    return True
