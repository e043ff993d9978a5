# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carries out a plan, part by part. A failure in one part does not stop the others.

Existing servers start first: launches and terminations must not delay them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from . import errors
from ._run import Run
from .errors import FatalError, FleetError
from .instances import Instance
from .plan import ADOPT, CREATE, RECONFIGURE, START, STOP, TERMINATE, Line, Plan
from .rolling import end_all, roll, start_one_way


def carry_out_once(run: Run, plan: Plan) -> None:
    """Carry out the plan and record failures."""
    run.launcher.know(list(run.instances.values()))
    stopping: list[Line] = []
    woken: list[Line] = []
    parts: list[Callable[[], None]] = [
        lambda: stopping.extend(_start(run, plan.of(START))),
        lambda: _terminate(run, plan.of(TERMINATE)),
        lambda: woken.extend(_adopt(run, plan.of(ADOPT))),
        lambda: stopping.extend(_start(run, woken)),
        lambda: _launch(run, plan.of(CREATE)),
        lambda: _reconfigure(run, plan.of(RECONFIGURE)),
        lambda: _stop(run, plan.of(STOP)),
        lambda: roll(run, plan),
        # Last, so that a slow stop delays nothing else.
        lambda: _start_when_stopped(run, stopping),
    ]
    for part in parts:
        try:
            part()
        except FatalError:
            raise
        except errors.ApiError as exc:
            run.failures.append(exc.explain("carry out the plan"))
        except FleetError as exc:
            run.failures.append(str(exc))


def _terminate(run: Run, lines: Sequence[Line]) -> None:
    if lines:
        run.progress.expect("terminated", len(lines))
        gone = end_all(run, lines)
        run.finish(gone)
        run.progress.done("terminated", len(gone))


def _adopt(run: Run, lines: Sequence[Line]) -> list[Line]:
    """Claim instances left by an interrupted launch. Returns those that also need a start."""
    pairs = [(line.server, run.instances[line.instance_id]) for line in lines if line.server]
    if not pairs:
        return []
    run.took(run.launcher.claim_all(pairs), claimed=True)
    items = [run.instances[line.instance_id] for line in lines if line.model not in run.problems]
    down = [item for item in items if item.state in ("stopped", "stopping")]
    return [Line(START, item.model, item.id, "") for item in down] if run.settings.power == "running" else []


def _launch(run: Run, lines: Sequence[Line]) -> None:
    new = [line.server for line in lines if line.server]
    if new:
        run.took(run.launcher.launch(new, claim=True), claimed=True)


def _reconfigure(run: Run, lines: Sequence[Line]) -> None:
    run.set_tags([line.announced() if line.attributes else line for line in lines])
    modified: list[Line] = []
    for line in lines:
        # AWS changes no attributes of a stopping instance. Its old digest makes a later run change them.
        if line.attributes and run.instances[line.instance_id].state == "stopped":
            try:
                for attribute, value in line.attributes:
                    run.api.modify(line.instance_id, attribute, value)
            except errors.ApiError as exc:
                if exc.hopeless:
                    raise FatalError(exc.explain(f"change {line.instance_id}")) from exc
                run.fail(line, exc.kind, exc.explain(f"change {line.instance_id}"))
            else:
                modified.append(line.proved())
    run.set_tags(modified)
    run.finish(line for line in lines if line.model not in run.problems)


def _stop(run: Run, lines: Sequence[Line]) -> None:
    if not lines:
        return
    run.set_tags([line.announced() for line in lines])
    stopped = run.in_batches(lines, "stop instances", run.api.stop)
    run.set_tags([line.proved() for line in stopped if not line.attributes])
    run.finish([*stopped, *_forgive(run, lines, "stopping", "stopped", "shutting-down", "terminated")])
    run.progress.note(f"{len(stopped)} stopped")
    for line in stopped:
        run.instances[line.instance_id] = run.instances[line.instance_id].with_state("stopping")


def _start(run: Run, lines: Sequence[Line]) -> list[Line]:
    """Start what can be started now. Returns the lines of those that are still stopping."""
    if not lines:
        return []
    # What the host reads comes before its start. Nothing else does: a refused note keeps no server stopped.
    first = {line.instance_id: _read_by_host(line) for line in lines}
    run.set_tags(first.values())
    lines = [line for line in lines if line.model not in run.problems]
    stopping = [line for line in lines if run.instances[line.instance_id].state == "stopping"]
    ready = [line for line in lines if line not in stopping]
    run.progress.expect("started", len(ready))
    started = start_one_way(run, ready)
    # Newer than the description of a moment ago.
    started += _forgive(run, ready, "pending", "running")
    run.set_tags(
        [replace(line, tags=tuple(sorted(set(line.tags) - set(first[line.instance_id].tags)))) for line in started]
    )
    run.finish(started)
    run.progress.done("started", len(started))
    for line in started:
        run.awaited[line.instance_id] = line.model
        if run.instances[line.instance_id].state != "running":
            run.instances[line.instance_id] = run.instances[line.instance_id].with_state("pending")
    return [*stopping, *_forgive(run, ready, "stopping")]


def _read_by_host(line: Line) -> Line:
    """The line with those of its tags that the host reads when it starts: its claim."""
    claim = {key for key, _value in line.server.claim_tags} if line.server else set()
    announced = line.announced()
    return replace(announced, tags=tuple(tag for tag in announced.tags if tag[0] in claim))


def _start_when_stopped(run: Run, lines: Sequence[Line]) -> None:
    """Start each as soon as it has stopped."""
    by_id = {line.instance_id: line for line in lines}

    def reached(instances: Sequence[Instance]) -> set[str]:
        down = [item.id for item in instances if item.state == "stopped"]
        _start(run, [by_id[id_] for id_ in down])
        return set(down)

    late = run.wait_until(list(by_id), reached, run.settings.wait_timeout) if by_id else set()
    for id_ in sorted(late):
        text = f"{id_} is {run.instances[id_].state} and cannot be started yet"
        run.fail(by_id[id_], errors.STATE, f"{text}. {errors.ADVICE[errors.STATE]}")


def _forgive(run: Run, lines: Sequence[Line], *states: str) -> list[Line]:
    """Of the lines that EC2 refused because of the instance's state, those whose instance is in one of these now."""
    odd = [
        line
        for line in lines
        if (problem := run.problems.get(line.model or line.instance_id)) and problem.kind == errors.STATE
    ]
    if not odd:
        return []
    run.look([line.instance_id for line in odd])
    fine = [line for line in odd if run.instances[line.instance_id].state in states]
    for line in fine:
        del run.problems[line.model or line.instance_id]
    return fine
