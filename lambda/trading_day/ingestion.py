# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""alpaca_websocket: start or stop the ingestion host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import AlgoTradingError
from ansible_collections.algo.trading.plugins.module_utils._naming import LIVE_STATES
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock
from ansible_collections.algo.trading.plugins.module_utils.trading_day import begin_ingestion, end

from . import hosts, report
from .events import START, Request
from .hosts import Host
from .settings import Settings

COMPONENT = "alpaca_websocket"


class IngestionFailed(AlgoTradingError):
    """The host is not up to date. Ends the invocation with an error, so that Lambda retries it."""


def decide(action: str, host: Host) -> tuple[str, str]:
    """What to do with a host, and why: start, stop, wait or leave."""
    if action == START:
        if host.state == "stopped":
            return "start", "it is stopped"
        if host.state == "stopping":
            return "wait", "it is still stopping and cannot be started yet"
        return "leave", f"it is {host.state} already"
    if host.state in ("running", "pending"):
        # Stopping the instance ends the service, which writes its buffers out first.
        return "stop", f"it is {host.state}"
    return "leave", f"it is {host.state} already"


def run(
    settings: Settings, request: Request, ec2: Any, sns: Callable[[], Any], clock: Clock, log: report.Log
) -> dict[str, Any]:
    """Start or stop the ingestion host."""
    rule = begin_ingestion if request.action == START else end
    today = report.today(sns, settings, log, request, clock.now(), rule, "Ingestion host not changed")
    if not today.act:
        return _nothing(today.reason, request, ok=not today.alert)
    found = hosts.find(ec2, settings.tags(COMPONENT), LIVE_STATES)
    plan = {host.id: (host, *decide(request.action, host)) for host in found.hosts}
    failed: dict[str, str] = {}
    if not request.dry_run:
        for verb, act in (("start", hosts.start), ("stop", hosts.stop)):
            failed |= act(ec2, [id_ for id_, (_host, does, _why) in plan.items() if does == verb]).failed
    rows = [
        {"instance_id": host.id, "name": host.name, "action": does, "reason": failed.get(host.id, why)}
        for host, does, why in plan.values()
    ]
    for row in rows:
        log.info("Host", **row)
    if not request.dry_run:
        changed = sum(row["action"] in ("start", "stop") for row in rows) - len(failed)
        log.metrics(clock.now().timestamp(), {"HostsFound": len(rows), "HostsChanged": changed})
    problems = _problems(request.action, rows, failed, found.foreign)
    if problems and not request.dry_run:
        report.alert(sns, settings, log, f"Ingestion could not {request.action}", problems)
        raise IngestionFailed(f"Could not {request.action} ingestion: {'; '.join(problems)}")
    return {
        "ok": not problems,
        "dry_run": request.dry_run,
        "reason": "; ".join(problems) or f"{request.action}: {len(rows)} hosts",
        "hosts": rows,
        "foreign": list(found.foreign),
    }


def _nothing(reason: str, request: Request, ok: bool) -> dict[str, Any]:
    return {"ok": ok, "dry_run": request.dry_run, "reason": reason, "hosts": [], "foreign": []}


def _problems(action: str, rows: Sequence[dict[str, Any]], failed: dict[str, str], foreign: Sequence[str]) -> list[str]:
    problems = [f"{id_}: {why}" for id_, why in failed.items()]
    problems += [f"{row['instance_id']}: {row['reason']}" for row in rows if row["action"] == "wait"]
    problems += [f"{id_} was returned by EC2 without this environment's tags and was not touched" for id_ in foreign]
    if action == START and not rows:
        problems.append("this environment has no ingestion host")
    return problems
