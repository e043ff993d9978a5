# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After the changes: wait for them, handle failed launches, and return what must be repaired in this run."""

from __future__ import annotations

from . import deaths, errors
from ._run import Run
from .claims import CLAIM_DIGEST, claim_digest
from .instances import Instance
from .launcher import Problem
from .plan import ADOPT, CREATE, TERMINATE, Plan
from .planner import make_plan

# AWS may fail to start an instance; one failure is retried.
_CHANCES = 2
# Needed because another operator acted at the same time.
_MENDED = ("duplicate", "taken back", "unclaimed")


def settle(run: Run) -> Plan:
    """Look at the whole fleet again, and return what must not wait for the next run."""
    described = run.api.describe_servers()
    run.see(described)
    awaited = {id_: name for id_, name in run.awaited.items() if id_ not in run.ended}
    described_ids = {item.id for item in described}
    run.instances = {id_: item for id_, item in run.instances.items() if id_ in described_ids or id_ in awaited}
    pending = sorted(id_ for id_ in awaited if run.instances[id_].state != "running" or id_ not in described_ids)
    if run.settings.wait:
        run.progress.expect("running", len(awaited))
        late = run.wait_for_state(pending, "running", timeout=run.settings.wait_timeout) if pending else set()
        run.progress.done("running", len(awaited) - len(late))
    else:
        run.look([id_ for id_ in pending if id_ not in described_ids])
        late = {id_ for id_ in pending if not run.instances[id_].live}
    for id_ in sorted(late):
        _learn(run, run.instances[id_], awaited[id_])
    run.awaited.clear()
    # Its problem is already reported and handled.
    known = [item for item in run.instances.values() if item.live and item.model in run.problems]
    # A server whose tags name another model may still serve the one that it was claimed for.
    serving = {item.tags.get(CLAIM_DIGEST) for item in known}
    wanted = [server for server in run.servers.values() if server.name not in run.problems]
    wanted = [server for server in wanted if claim_digest(server.name) not in serving]
    ours = [item for item in run.instances.values() if not item.live or item.model not in run.problems]
    ours = [item for item in ours if item.id not in run.ended]
    strangers = [item for item in described if item.id not in run.instances and item.id not in run.ended]
    now, instances = run.clock.now(), [*ours, *strangers]
    plan = make_plan(run.settings, wanted, instances, now, run.set_aside, run.launched, run.halt, run.orders)
    plan.check_guard(run.settings)
    run.alarms = list(dict.fromkeys([*run.alarms, *plan.alarms]))
    # Only what must not wait for the next run; anything else was decided, and perhaps refused, already.
    return Plan(
        tuple(
            line
            for line in plan.lines
            if line.action in (CREATE, ADOPT) or (line.action == TERMINATE and line.cause in _MENDED)
        ),
        plan.fleet_size,
    )


def _learn(run: Run, instance: Instance, name: str) -> None:
    """Handle an instance that did not start."""
    code, message = instance.state_reason, instance.state_message
    if errors.death_at_launch(code):
        server = run.servers.get(name)
        key = server.spec.settings.root_volume.kms_key_id if server else ""
        text = run.death_texts.setdefault(deaths.key_of_instance(instance), deaths.explain(instance, key))
        run.problems[name] = Problem(errors.LAUNCH, text)
        return
    if instance.live:
        text = f"{instance.id} is still {instance.state} after {run.settings.wait_timeout:g} s"
        run.problems[name] = Problem(errors.TRANSIENT, text)
        return
    kind = errors.kind_of_code(code)
    run.deaths[name] += 1
    if kind == errors.CAPACITY:
        run.memory.add(instance.type, instance.subnet_id)
    elif kind not in errors.RETRYABLE or run.deaths[name] >= _CHANCES:
        text = f"{instance.id} was terminated by AWS or the host: {code} {message}".strip()
        run.problems[name] = Problem(kind, f"{text}. {errors.ADVICE[kind]}")
