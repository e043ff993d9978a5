# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rolling change: batches of servers are restarted or replaced, and the next batch waits for the last one's health."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import deaths, errors
from ._run import Run
from .api import chunks
from .claims import DRAIN_ASKED, RESTART_BEGUN
from .errors import ApiError, FleetError
from .instances import Instance
from .launcher import Problem
from .plan import LEAVE, REPLACE, RESTART, Line, Plan


class BadBatchError(FleetError):
    """A batch did not become healthy. The rest was not started."""


def roll(run: Run, plan: Plan) -> None:
    """Carry out the plan's restarts and replacements."""
    lines = plan.of(RESTART, REPLACE)
    if not lines:
        return
    size = _room(run, plan)
    run.progress.expect("replaced or restarted", len(lines))
    steps: list[tuple[Callable[[Run, Sequence[Line]], list[Line]], list[Line]]] = [
        (_restart, plan.of(RESTART)),
        (_replace, plan.of(REPLACE)),
    ]
    remaining = len(lines)
    for step, members in steps:
        # Those that do not trade first: an open session holds only the others.
        idle = [line for line in members if _idle(run, line)]
        for batch in [*chunks(idle, size), *chunks([line for line in members if line not in idle], size)]:
            reason = run.session()
            if reason and batch[0] not in idle:
                for line in batch:
                    run.held[line.model] = f"{line.action} is held: {reason} since this run began"
                remaining -= len(batch)
                continue
            fresh = step(run, batch)
            run.finish(fresh)
            remaining -= len(batch)
            _gate(run, fresh, remaining)
            run.progress.done("replaced or restarted", len(batch))


def _idle(run: Run, line: Line) -> bool:
    return line.instance_id in run.instances and run.instances[line.instance_id].idle


def _room(run: Run, plan: Plan) -> int:
    """How many may be down at once, including those already unhealthy."""
    settings = run.settings
    size = min(settings.replace.batch_size, settings.replace.max_unavailable)
    standing = [
        run.instances[line.instance_id]
        for line in plan.of(LEAVE)
        if line.server and line.instance_id in run.instances and run.instances[line.instance_id].state == "running"
    ]
    unhealthy = run.health(standing) if standing else {}
    free = settings.replace.max_unavailable - len(unhealthy)
    if free <= 0:
        shown = ", ".join(f"{run.instances[id_].model} on {id_} ({what})" for id_, what in sorted(unhealthy.items()))
        raise BadBatchError(
            f"Nothing was restarted or replaced: {len(unhealthy)} servers are already unhealthy; max_unavailable is "
            f"{settings.replace.max_unavailable}. Repair them first, or raise "
            f"replace.max_unavailable. They are: {shown}."
        )
    return min(size, free)


def _restart(run: Run, batch: Sequence[Line]) -> list[Line]:
    """Write tags, stop, write the attributes that cannot change while running, start."""
    timeout = run.settings.health.timeout
    drained = {line.instance_id for line in batch if run.instances[line.instance_id].drain_asked}
    begun = run.clock.now().isoformat(timespec="seconds")
    run.set_tags([line.announced(**{RESTART_BEGUN: begun}) for line in batch])
    batch = [line for line in batch if line.model not in run.problems]
    deep = [line for line in batch if line.attributes]
    done = run.in_batches([line for line in batch if not line.attributes], "restart instances", run.api.reboot)
    if deep:
        stopped = run.in_batches(deep, "stop instances", run.api.stop)
        late = run.wait_for_state([line.instance_id for line in stopped], "stopped", timeout=timeout)
        for line in stopped:
            if line.instance_id in late:
                run.fail(line, errors.TRANSIENT, f"{line.instance_id} did not stop in {timeout:g} s")
            else:
                done += start_one_way(run, [line])
    # Not earlier: a host that could not be restarted is not up to date, although it has its new tags.
    over = {line.instance_id: {RESTART_BEGUN: ""} for line in done}
    over.update({id_: {RESTART_BEGUN: "", DRAIN_ASKED: ""} for id_ in over.keys() & drained})
    run.set_tags([line.proved(**over[line.instance_id]) for line in done])
    return done


def start_one_way(run: Run, lines: Sequence[Line]) -> list[Line]:
    """Give stopped instances their new attributes, and start them."""
    ready: list[Line] = []
    for line in lines:
        try:
            for attribute, value in line.attributes:
                run.api.modify(line.instance_id, attribute, value)
        except ApiError as exc:
            run.fail(line, exc.kind, exc.explain(f"change {line.instance_id}"))
            continue
        ready.append(line)
    return run.in_batches(ready, "start instances", run.api.start)


def _replace(run: Run, batch: Sequence[Line]) -> list[Line]:
    """With surge, the successor already runs, unclaimed and waiting, when the old server goes. There is never more
    than one claimed server per model: the claim follows the end of the old one."""
    servers = {line.model: line.server for line in batch if line.server}
    successors: dict[str, Instance] = {
        line.model: run.instances[line.successor] for line in batch if line.successor in run.instances
    }
    if run.settings.replace.surge:
        launched = run.launcher.launch(
            [server for name, server in servers.items() if name not in successors], claim=False
        )
        run.took(launched, claimed=False)
        for instance in launched.placed.values():
            run.awaited.pop(instance.id, None)
        successors |= launched.placed
        late = run.wait_for_state(
            [item.id for item in successors.values()], "running", timeout=run.settings.health.timeout
        )
        for name in [name for name, item in successors.items() if item.id in late]:
            item = run.instances[successors.pop(name).id]
            text = f"its successor {item.id} did not start: {item.state} {item.state_reason} {item.state_message}"
            kind = errors.kind_of_code(item.state_reason)
            server = servers[name]
            if errors.death_at_launch(item.state_reason) and server:
                kind = errors.LAUNCH
                text = deaths.explain(item, server.spec.settings.root_volume.kms_key_id)
            run.problems[name] = Problem(kind, text.strip())
        batch = [line for line in batch if line.model in successors]
    gone = end_all(run, batch)
    late = run.wait_for_state([line.instance_id for line in gone], "terminated", timeout=run.settings.health.timeout)
    for line in [line for line in gone if line.instance_id in late and run.instances[line.instance_id].live]:
        run.fail(line, errors.TRANSIENT, f"{line.instance_id} did not terminate; its successor is not claimed yet")
    free = [line for line in gone if line.model not in run.problems]
    if run.settings.replace.surge:
        pairs = [(servers[line.model], successors[line.model]) for line in free]
        claimed = run.launcher.claim_all([(server, item) for server, item in pairs if server])
    else:
        claimed = run.launcher.launch([servers[line.model] for line in free if servers[line.model]], claim=True)
    run.took(claimed, claimed=True)
    return [line for line in free if line.model in claimed.placed]


def end_all(run: Run, lines: Sequence[Line]) -> list[Line]:
    """Terminate, and remember it."""
    gone = run.in_batches(lines, "terminate instances", run.api.terminate)
    for line in gone:
        run.ended.add(line.instance_id)
        known = run.instances.get(line.instance_id)
        if known:
            run.instances[line.instance_id] = known.with_state("shutting-down")
    return gone


def _gate(run: Run, lines: Sequence[Line], remaining: int) -> None:
    """Wait until the batch is healthy. An unhealthy server stops the rolling change."""
    by_model = {item.model: item.id for item in run.instances.values() if item.live and item.model}
    ids = [by_model[line.model] for line in lines if line.model in by_model]
    unhealthy: dict[str, str] = {}

    def healthy(instances: Sequence[Instance]) -> set[str]:
        running = [item for item in instances if item.state == "running"]
        found = dict(run.health(running)) if running else {}
        unhealthy.clear()
        unhealthy.update({item.id: f"is {item.state}" for item in instances if item.state != "running"} | found)
        return {item.id for item in running if item.id not in found}

    bad = run.wait_until(ids, healthy, run.settings.health.timeout)
    failed = [line for line in lines if by_model.get(line.model) in bad]
    for id_ in sorted(set(ids) - bad):
        run.awaited.pop(id_, None)
    lost = [line for line in lines if line.model in run.problems]
    if not failed and not lost:
        return
    shown = "; ".join(
        [
            f"{line.model} on {by_model[line.model]} ({unhealthy.get(by_model[line.model], 'unknown')})"
            for line in failed
        ]
        + [f"{line.model} ({run.problems[line.model].text})" for line in lost]
    )
    for line in failed:
        run.fail(line, errors.UNKNOWN, f"unhealthy after {run.settings.health.timeout:g} s")
    was = failed[0].reason if failed else lost[0].reason
    raise BadBatchError(
        f"Stopped after a failed batch; {remaining} servers were not started on. Unhealthy: {shown}. "
        f"To continue: repair them, then run again; the run continues with the rest. "
        f"To go back: set what changed ({was}) to its previous value and run again; only these servers are touched."
    )
