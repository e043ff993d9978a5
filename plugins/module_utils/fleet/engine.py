# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run: describe, decide, act, describe again. The module and the Lambda both call `reconcile`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import errors
from ._acts import carry_out_once
from ._run import HealthCheck, Run
from ._settle import settle
from .api import Ec2Api
from .desired import FleetModel, desired_servers, read_models, require_launchable
from .errors import FleetError
from .instances import Instance
from .launcher import Launcher
from .orders import NO_ORDERS, Orders
from .pacing import Clock, Pacer, SystemClock
from .placement import CapacityMemory
from .plan import ADOPT, CREATE, REPLACE, START, Plan
from .planfile import SavedPlan
from .planner import make_plan
from .progress import Progress, Silent
from .report import FleetResult, report
from .settings import FleetSettings

_ROUNDS = 4
_SHOWN = 10


def reconcile(
    settings: FleetSettings,
    models: Iterable[Mapping[str, Any] | FleetModel],
    client: Any,
    *,
    check: bool = False,
    clock: Clock | None = None,
    progress: Progress | None = None,
    memory: CapacityMemory | None = None,
    health: HealthCheck | None = None,
    saved: SavedPlan | None = None,
    deadline: float | None = None,
    halt: str = "",
    orders: Orders = NO_ORDERS,
) -> FleetResult:
    """Make the fleet match the models.

    `client` is a boto3 EC2 client, best one that does not retry by itself. `deadline` is on the clock's monotonic
    scale; a run that reaches it ends as failed, and the next one continues. `halt` is why trading is halted, if it is;
    then nothing is launched, started, restarted or replaced. `orders` do the
    same for some models. Raises FleetError only before anything
    was changed; later failures are in the result.
    """
    clock = clock or SystemClock()
    good, set_aside = read_models(models)
    servers = desired_servers(settings, good)
    pacer = Pacer(clock, factor=settings.rate_factor, limits=settings.rate_limits)
    api = Ec2Api(client, pacer, clock, deadline=deadline)
    progress = progress or Silent()
    memory = memory or CapacityMemory(clock)
    try:
        instances = api.describe_servers()
    except errors.ApiError as exc:
        raise FleetError(exc.explain("list the fleet's instances")) from exc
    plan = make_plan(settings, servers, instances, clock.now(), set_aside, halt=halt, orders=orders)
    if saved is not None:
        saved.require(plan)
    result = FleetResult(plan, halt=halt, orders=orders.in_force(clock.now()))
    launcher = Launcher(settings, api, memory, progress)
    run = Run(settings, api, clock, progress, memory, launcher, health or _health(settings, api), halt=halt)
    run.orders = orders
    run.servers = {server.name: server for server in servers}
    run.set_aside = set_aside
    run.see(instances)
    run.alarms = plan.alarms
    todo = plan
    try:
        plan.check_guard(settings)
        if not check and plan.changed:
            require_launchable([line.server for line in plan.of(CREATE, REPLACE) if line.server])
    except FleetError as exc:
        run.failures.append(str(exc))
        # Even if the rest is refused: a stopped server of a listed model must start.
        todo = plan.only(START)
        result.refused = frozenset(plan.lines) - frozenset(todo.lines)
    if not check and todo.changed:
        _carry_out(run, todo)
        memory.save()
    result.message = _message(run)
    report(result, run, servers, check)
    result.api_calls = dict(api.calls)
    result.refusals = dict(api.refusals)
    result.paced_seconds = round(pacer.waited, 1)
    return result


def _health(settings: FleetSettings, api: Ec2Api) -> HealthCheck:
    """The configured check. Callers may pass their own instead."""

    def status(instances: Sequence[Instance]) -> Mapping[str, str]:
        return api.unhealthy([item.id for item in instances])

    def tag(instances: Sequence[Instance]) -> Mapping[str, str]:
        key, value = settings.health.tag, settings.health.value
        return {
            item.id: f"tag {key} is {item.tags.get(key, 'not set')}"
            for item in instances
            if item.tags.get(key) != value
        }

    def none(instances: Sequence[Instance]) -> Mapping[str, str]:
        return {}

    return {"status": status, "tag": tag, "none": none}[settings.health.check]


def _carry_out(run: Run, plan: Plan) -> None:
    """Act, describe again, and repair what changed meanwhile."""
    guarded = bool(run.failures)
    try:
        for _round in range(_ROUNDS):
            carry_out_once(run, plan)
            if guarded or (not run.awaited and not plan.of(ADOPT, CREATE, REPLACE)):
                # Nothing to wait for, and nothing that another operator could also have created.
                break
            plan = settle(run)
            if not plan.lines:
                break
    except errors.ApiError as exc:
        run.failures.append(exc.explain("carry out the plan"))
    except FleetError as exc:
        run.failures.append(str(exc))


def _message(run: Run) -> str:
    """Why the run has failed, all of it; empty if it has not."""
    parts = list(dict.fromkeys(run.failures))
    if run.problems:
        by_text: dict[str, list[str]] = defaultdict(list)
        for name, problem in sorted(run.problems.items()):
            by_text[problem.text].append(name)
        shown = "; ".join(f"{_some(names)}: {text}" for text, names in list(by_text.items())[:_SHOWN])
        more = f"; and {len(by_text) - _SHOWN} more, see unplaced" if len(by_text) > _SHOWN else ""
        parts.append(f"{len(run.problems)} servers are not up to date; the next run continues with them. {shown}{more}")
    if run.set_aside:
        bad = [f"{name or 'a model without a name'} ({reason})" for name, reason in sorted(run.set_aside.items())]
        parts.append(f"{len(bad)} listed models cannot be served; their servers are not changed: {_some(bad)}.")
    parts += run.alarms[:_SHOWN]
    if len(run.alarms) > _SHOWN:
        parts.append(f"{len(run.alarms) - _SHOWN} more warnings like these; see the plan lines.")
    return " ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
