# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run from start to end: look, decide, act, look again. The module and the Lambda both call `reconcile`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import errors
from ._run import HealthCheck, Run
from .api import Ec2Api
from .desired import FleetModel, Server, require_launchable, wanted_servers
from .errors import FleetError
from .instances import Instance
from .launcher import Launcher, Problem
from .pacing import Clock, Pacer, SystemClock
from .placement import CapacityMemory
from .plan import ADOPT, CREATE, RECONFIGURE, REPLACE, START, STOP, TERMINATE, Line, Plan
from .planfile import SavedPlan
from .planner import make_plan
from .progress import Progress, Silent
from .report import FleetResult, report
from .rolling import end_all, roll, start_one_way
from .settings import FleetSettings

_ROUNDS = 4


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
) -> FleetResult:
    """Make the fleet match the models.

    `client` is a boto3 EC2 client, best one that does not retry by itself. `deadline` is on the clock's monotonic
    scale; a run that reaches it ends as failed, and the next one continues. Raises FleetError only before anything
    was changed; later failures are in the result.
    """
    clock = clock or SystemClock()
    servers = wanted_servers(settings, models)
    pacer = Pacer(clock, factor=settings.rate_factor, limits=settings.rate_limits)
    api = Ec2Api(client, pacer, clock, deadline=deadline)
    progress = progress or Silent()
    memory = memory or CapacityMemory(clock)
    try:
        instances = api.describe_fleet(settings.identity_tags)
    except errors.ApiError as exc:
        raise FleetError(exc.explain("list the fleet's instances")) from exc
    plan = make_plan(settings, servers, instances, clock.now())
    if saved is not None:
        saved.require(plan)
    result = FleetResult(plan)
    launcher = Launcher(settings, api, memory, progress)
    run = Run(settings, api, clock, progress, memory, launcher, health or _health(settings, api))
    run.instances = {instance.id: instance for instance in instances}
    try:
        plan.check_guard(settings)
        if not check and plan.changed:
            require_launchable([line.server for line in plan.of(CREATE, REPLACE) if line.server])
    except FleetError as exc:
        result.message = str(exc)
    if not check and not result.message and plan.changed:
        result.message = _carry_out(run, plan, servers)
        memory.save()
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


def _carry_out(run: Run, plan: Plan, servers: Sequence[Server]) -> str:
    """Act, look again, and mend what somebody else or a hidden refusal has broken meanwhile."""
    try:
        for _round in range(_ROUNDS):
            _apply(run, plan)
            if not run.awaited and not plan.of(ADOPT, CREATE, REPLACE):
                # Nothing was begun whose end is to be waited for, and nothing made that another could have made too.
                break
            again = _settle(run, servers)
            if not again:
                break
            plan = Plan(tuple(again), plan.fleet_size)
    except errors.ApiError as exc:
        return exc.explain("carry out the plan")
    except FleetError as exc:
        return str(exc)
    if run.problems:
        shown = "; ".join(f"{name}: {problem.text}" for name, problem in sorted(run.problems.items())[:10])
        more = f"; and {len(run.problems) - 10} more, see unplaced" if len(run.problems) > 10 else ""
        return (
            f"{len(run.problems)} servers are not as wanted; the rest is done, and the next run goes on. {shown}{more}"
        )
    return ""


def _apply(run: Run, plan: Plan) -> None:
    launcher = run.launcher
    launcher.know(list(run.instances.values()))
    ending = plan.of(TERMINATE)
    if ending:
        run.progress.expect("terminated", len(ending))
        run.progress.done("terminated", len(end_all(run, ending)))
    adopted = [(line.server, run.instances[line.instance_id]) for line in plan.of(ADOPT) if line.server]
    if adopted:
        run.took(launcher.claim_all(adopted), claimed=True)
    new = [line.server for line in plan.of(CREATE) if line.server]
    if new:
        run.took(launcher.launch(new, claim=True), claimed=True)
    run.set_tags(plan.of(START, STOP, RECONFIGURE))
    for line in plan.of(RECONFIGURE):
        if line.attributes and run.instances[line.instance_id].state == "stopped":
            for attribute, value in line.attributes:
                run.api.modify(line.instance_id, attribute, value)
    woken = [
        run.instances[line.instance_id]
        for line in plan.of(ADOPT)
        if run.settings.power == "running" and run.instances[line.instance_id].state in ("stopped", "stopping")
    ]
    _start(run, plan.of(START) + [Line(START, item.model, item.id, "") for item in woken])
    if plan.of(STOP):
        stopped = run.in_batches(plan.of(STOP), "stop instances", run.api.stop)
        run.progress.note(f"{len(stopped)} stopped")
        for line in stopped:
            run.instances[line.instance_id] = run.instances[line.instance_id].with_state("stopping")
    roll(run, plan)


def _start(run: Run, lines: list[Line]) -> None:
    if not lines:
        return
    stopping = [line.instance_id for line in lines if run.instances[line.instance_id].state == "stopping"]
    late = run.wait_for_state(stopping, "stopped", timeout=run.settings.wait_timeout)
    for line in [line for line in lines if line.instance_id in late]:
        run.fail(line, errors.TRANSIENT, f"{line.instance_id} is still stopping and cannot be started yet")
    run.progress.expect("started", len(lines))
    started = start_one_way(run, [line for line in lines if line.instance_id not in late])
    run.progress.done("started", len(started))
    for line in started:
        run.awaited[line.instance_id] = line.model
        run.instances[line.instance_id] = run.instances[line.instance_id].with_state("pending")


def _settle(run: Run, servers: Sequence[Server]) -> list[Line]:
    """Look at the whole fleet again, wait for what was begun, and say what still has to be mended."""
    seen = {item.id: item for item in run.api.describe_fleet(run.settings.identity_tags)}
    for id_, tags in run.claims.items():
        # A description may lag behind the tags that were just written. Another operator's claim is no lag.
        if id_ in seen and seen[id_].model in ("", tags.get("Model", seen[id_].model)):
            seen[id_] = seen[id_].with_tags(tags)
    awaited = {id_: name for id_, name in run.awaited.items() if id_ not in run.ended}
    vanished = sorted(set(awaited) - set(seen))
    run.instances = {
        **{id_: run.instances[id_] for id_ in vanished},
        **{id_: item for id_, item in seen.items() if id_ not in run.ended},
    }
    if run.settings.wait:
        pending = [id_ for id_ in awaited if run.instances[id_].state != "running"] + vanished
        run.progress.expect("running", len(awaited))
        late = set()
        if pending:
            late = run.wait_for_state(sorted(set(pending)), "running", timeout=run.settings.wait_timeout)
        run.progress.done("running", len(awaited) - len(late))
        for id_ in sorted(late):
            _learn_from_death(run, run.instances[id_], awaited[id_])
    elif vanished:
        run.look(vanished)
        for id_ in vanished:
            if not run.instances[id_].live:
                _learn_from_death(run, run.instances[id_], awaited[id_])
    run.awaited.clear()
    wanted = [server for server in servers if server.name not in run.problems]
    current = [item for item in run.instances.values() if item.live and item.model not in run.problems]
    plan = make_plan(run.settings, wanted, current, run.clock.now())
    # Only what must not wait for the next run; anything else was decided, and perhaps refused, already.
    return [
        line
        for line in plan.lines
        if line.action in (CREATE, ADOPT) or (line.action == TERMINATE and line.cause in ("duplicate", "unclaimed"))
    ]


def _learn_from_death(run: Run, instance: Instance, name: str) -> None:
    """EC2 accepts a launch and ends it again a moment later: the true answer stands in the state's reason."""
    if instance.live:
        text = f"{instance.id} is still {instance.state} after {run.settings.wait_timeout:g} s"
        run.problems[name] = Problem(errors.TRANSIENT, text)
        return
    kind = errors.kind_of_code(instance.state_reason)
    if kind == errors.CAPACITY:
        run.memory.add(instance.type, instance.subnet_id)
    elif kind not in errors.RETRYABLE:
        text = f"{instance.id} ended by itself: {instance.state_reason} {instance.state_message}".strip()
        run.problems[name] = Problem(kind, f"{text}. {errors.ADVICE[kind]}")
