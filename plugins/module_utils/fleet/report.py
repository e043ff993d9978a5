# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of a run, with all details."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ._run import Run
from .desired import Server
from .instances import Instance
from .plan import CREATE, Line, Plan


@dataclass
class FleetResult:
    """The result for callers. `message` is set when the run failed."""

    plan: Plan
    changed: bool = False
    message: str = ""
    # Why trading is halted, or empty.
    halt: str = ""
    # Every halt and hold in force, as text.
    orders: list[str] = field(default_factory=list)
    servers: list[dict[str, Any]] = field(default_factory=list)
    # Lines of the plan that a guard kept from being carried out.
    refused: frozenset[Line] = frozenset()
    # Lines of the plan that this run did not come to, with the reason. A session that opened holds some, too.
    not_begun: dict[Line, str] = field(default_factory=dict)
    unplaced: list[dict[str, str]] = field(default_factory=list)
    held: list[dict[str, str]] = field(default_factory=list)
    api_calls: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    paced_seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return bool(self.message)

    def reason(self, line: Line) -> str:
        """The reason of a line, with why it was not carried out if it was not."""
        why = self.not_begun.get(line, "")
        return f"{why} ({line.reason})" if why else line.reason

    def status(self, line: Line, *, check: bool) -> str:
        """What happened to a line of the plan, as the module returns it."""
        if check:
            return "planned"
        failed = {entry["model"] for entry in self.unplaced}
        if line in self.refused or (line.model or line.instance_id) in failed:
            return "failed"
        return "not started" if line in self.not_begun else "done"


def report(result: FleetResult, run: Run, servers: Sequence[Server], check: bool) -> None:
    lines = {line.model: line for line in result.plan.lines if line.model and line.server}
    if not check:
        result.changed = run.changed
        reasons = {line: run.not_begun(line) for line in result.plan.lines if line not in result.refused}
        result.not_begun = {line: why for line, why in reasons.items() if why}
        current = {item.model: item for item in run.instances.values() if item.live and item.model}
    else:
        result.changed = result.plan.changed
        current = {
            line.model: run.instances[line.instance_id]
            for line in lines.values()
            if line.instance_id in run.instances and line.action not in (CREATE,)
        }
    for server in servers:
        line = lines.get(server.name)
        if line is None:
            continue
        problem = run.problems.get(server.name)
        text = problem.text if problem else result.not_begun.get(line, "")
        result.servers.append(_row(server, line, current.get(server.name), text))
    result.unplaced = [
        {"model": name, "kind": problem.kind, "reason": problem.text} for name, problem in sorted(run.problems.items())
    ]
    held = {line.model: line.reason for line in result.plan.lines if line.held} | run.held
    result.held = [{"model": name, "reason": reason} for name, reason in sorted(held.items())]


def _row(server: Server, line: Line, instance: Instance | None, problem: str) -> dict[str, Any]:
    model = server.model
    found = instance or replace(Instance(""), state="")
    return {
        "name": model.name,
        "type": model.type,
        "symbol": model.symbol,
        "model": model.model,
        "outer": model.outer,
        "inner": model.inner,
        "uri": model.uri,
        "version": found.tags.get("ModelVersion", "") if instance else "",
        "wanted_version": model.version,
        "action": line.action,
        "reason": line.reason,
        "problem": problem,
        "instance_id": found.id,
        "instance_type": found.type,
        "image_id": found.image_id,
        "subnet_id": found.subnet_id,
        "availability_zone": found.zone,
        "private_ip_address": found.private_ip,
        "private_dns_name": found.private_dns_name,
        "state": found.state,
        "launch_time": found.launch_time.isoformat() if instance else "",
        "tags": dict(found.tags),
    }
