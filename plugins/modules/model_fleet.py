#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_fleet
version_added: 0.1.0
short_description: Keep one EC2 instance per model
description:
  - Takes the models that P(algo.trading.s3_models#lookup) lists and makes the fleet match them in one process.
    Instances are created, adopted, started, stopped, restarted, reconfigured, replaced, terminated, or left as they
    are.
  - Every decision is a line of RV(plan) with its reason. Check mode makes the same plan and stops there; in diff mode
    the plan is the difference. In check mode nothing but C(DescribeInstances) is called, and C(ssm:GetParameter) for
    the halt flag, so the image, network, security groups and instance profile need not exist yet.
  - Instances with equal launch settings are launched together (C(RunInstances) with a client token that only depends
    on the desired launch), without a model. Each then becomes a model's server by its claim, one C(CreateTags).
    Unclaimed instances of an interrupted run are adopted. So neither a crash nor a retry nor a second operator creates
    a duplicate or loses a model.
  - The host learns from its tags (instance metadata service) which model it serves, and waits for its claim. The
    configuration that the launch group shares is in its user data, which cloud-init writes to
    C(/etc/algo-trading/fleet.json).
  - Requests are paced by AWS's published limits, shared by all threads. See O(rate_limits).
  - The Lambda function trading_server makes the same plan from the same settings, which the role
    C(aws_trading_server) stores for it. What is given in O(once) is never stored.
  - Only instances that carry all of the tags C(Project), C(Environment), C(Component) and C(ManagedBy=algo.trading)
    with the values of this fleet are ever looked at.
author:
  - The algo.trading authors (@algo-trading)
attributes:
  check_mode:
    description: Makes the plan that a real run would carry out.
    support: full
  diff_mode:
    description: Shows the plan, each line with its reason.
    support: full
# Its options stand in plugins/module_utils/fleet/spec.py.
extends_documentation_fragment:
  - algo.trading.fleet
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - plugin: algo.trading.s3_models
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Keep one server per model of the bucket
  algo.trading.model_fleet:
    project: algo-trading
    environment: qa
    models: "{{ lookup('algo.trading.s3_models', 'algo-model-deploy', wantlist=True) }}"
    image_id: ami-0123456789abcdef0
    instance_types: [t4g.small, t4g.medium]
    subnet_ids: [subnet-0123456789abcdef0, subnet-0fedcba9876543210]
    security_group_ids: [sg-0123456789abcdef0]
    instance_profile_name: algo-trading-trading-server-qa
    configuration:
      feed: alpaca-websocket.qa.algo-trading.internal:8765
  register: fleet

- name: See what would happen, with a reason for each line
  algo.trading.model_fleet:
    project: algo-trading
    environment: qa
    models: "{{ models }}"
    image_id: ami-0fedcba9876543210
    instance_types: [t4g.small]
    save_plan: build/fleet-plan.json
  check_mode: true
  diff: true

- name: Roll out a new image, five at a time, never while the exchange is open
  algo.trading.model_fleet:
    project: algo-trading
    environment: prod
    models: "{{ models }}"
    image_id: ami-0fedcba9876543210
    instance_types: [c7g.large, c6g.large]
    subnet_ids: "{{ subnets }}"
    power: keep
    session: {open: '09:30', close: '16:00'}
    replace: {batch_size: 5, max_unavailable: 5}
    apply_plan: build/fleet-plan.json

- name: Give one symbol larger servers, and touch only those
  algo.trading.model_fleet:
    project: algo-trading
    environment: prod
    models: "{{ models }}"
    image_id: ami-0fedcba9876543210
    instance_types: [c7g.large]
    subnet_ids: "{{ subnets }}"
    overrides:
      - symbol: [GOOG]
        instance_types: [c7g.2xlarge, c6g.2xlarge]
        configuration: {workers: 8}
    selection: {symbols: [GOOG]}

- name: End half of the fleet, once, because those models are really to go
  algo.trading.model_fleet:
    project: algo-trading
    environment: dev
    models: "{{ models }}"
    once: {max_terminate_share: 0.5}

- name: End the fleet
  algo.trading.model_fleet:
    project: algo-trading
    environment: dev
    state: absent
"""

RETURN = r"""
plan:
  description: What was (in check mode, would be) done, one line per model or instance, changes first.
  returned: when the plan could be made
  type: list
  elements: dict
  contains:
    action:
      description:
        - One of V(terminate), V(replace), V(restart), V(reconfigure), V(stop), V(start), V(adopt), V(create), V(hold)
          and V(no-op).
      type: str
      sample: create
    model:
      description: Name of the model, empty for an instance that nobody has claimed.
      type: str
      sample: momentum/GOOG/sma-outer_0_inner_1
    instance_id:
      description: The instance, empty where there is none yet.
      type: str
      sample: i-0123456789abcdef0
    reason:
      description: Why.
      type: str
      sample: has no server
    name:
      description: The model, or the instance where there is none.
      type: str
      sample: momentum/GOOG/sma-outer_0_inner_1
    type:
      description: What the line is about.
      type: str
      sample: trading server
    component:
      description: The component.
      type: str
      sample: trading_server
    status:
      description: Whether it was done. V(planned), V(done) or V(failed).
      type: str
      sample: done
models:
  description: Number of the models that were given.
  returned: when the plan could be made
  type: int
  sample: 12
servers:
  description: One entry per listed (and selected) model, sorted by name, as it is at the end of the run.
  returned: when the plan could be made
  type: list
  elements: dict
  contains:
    name:
      description: Name of the model.
      type: str
      sample: momentum/GOOG/sma-outer_0_inner_1
    type:
      description: Type of the model.
      type: str
      sample: momentum
    symbol:
      description: Symbol.
      type: str
      sample: GOOG
    model:
      description: The model within type and symbol.
      type: str
      sample: sma
    outer:
      description: Outer fold.
      type: int
      sample: 0
    inner:
      description: Inner fold.
      type: int
      sample: 1
    uri:
      description: Where the artifact is.
      type: str
      sample: s3://algo-model-deploy/models/momentum/GOOG/sma-outer_0_inner_1
    version:
      description: Version of the model that the server has been told to serve.
      type: str
      sample: 3f2a9c0d1e4b5a68
    wanted_version:
      description: Version that is listed.
      type: str
      sample: 3f2a9c0d1e4b5a68
    action:
      description: What the plan said about it.
      type: str
      sample: leave
    reason:
      description: Why.
      type: str
      sample: up to date
    problem:
      description: Why it is not up to date; empty if it is.
      type: str
      sample: ''
    instance_id:
      description: The instance.
      type: str
      sample: i-0123456789abcdef0
    instance_type:
      description: Its type.
      type: str
      sample: t4g.small
    image_id:
      description: Its image.
      type: str
      sample: ami-0123456789abcdef0
    subnet_id:
      description: Its subnet.
      type: str
      sample: subnet-0123456789abcdef0
    availability_zone:
      description: Its availability zone.
      type: str
      sample: us-east-1a
    private_ip_address:
      description: Its private address.
      type: str
      sample: 10.0.1.17
    private_dns_name:
      description: Its private name.
      type: str
      sample: ip-10-0-1-17.ec2.internal
    state:
      description: Its state.
      type: str
      sample: running
    launch_time:
      description: When it was launched, ISO 8601.
      type: str
      sample: '2025-06-02T13:00:00+00:00'
    tags:
      description: Its tags.
      type: dict
      sample: {Environment: qa, Symbol: GOOG}
counts:
  description: Number of lines in RV(plan) by action.
  returned: when the plan could be made
  type: dict
  sample: {create: 2, leave: 10}
unplaced:
  description: The models that are not up to date although the run has tried. The next run continues with them.
  returned: when the plan could be made
  type: list
  elements: dict
  contains:
    model:
      description: Name of the model.
      type: str
      sample: momentum/GOOG/sma-outer_0_inner_1
    kind:
      description:
        - Kind of the error. One of V(capacity), V(quota), V(throttled), V(denied), V(parameter), V(protected),
          V(transient), V(idempotency), V(not_found), V(subnet_full), V(state), V(launch), V(not_ready), V(credentials),
          V(region), V(unreachable) and V(unknown).
      type: str
      sample: capacity
    reason:
      description: What was tried, AWS's error, and what to do.
      type: str
      sample: no capacity for t4g.small in subnet-0123456789abcdef0
held:
  description: What a guard holds back, for example the open trading session.
  returned: when the plan could be made
  type: list
  elements: dict
  contains:
    model:
      description: Name of the model.
      type: str
      sample: momentum/GOOG/sma-outer_0_inner_1
    reason:
      description: What is held, and why.
      type: str
      sample: "replace is held: the trading session is open until 16:00 America/New_York"
halt:
  description: Why trading is halted, or empty. See O(halt_parameter).
  returned: when the plan could be made
  type: str
  sample: ''
orders:
  description: Every halt and hold that is in force, of everything or of some models.
  returned: when the plan could be made
  type: list
  elements: str
  sample: ['halt of symbol AAPL, by the desk, 2026-11-25T15:02:11Z: split']
api_calls:
  description: Number of API calls by operation, repetitions included.
  returned: when the plan could be made
  type: dict
  sample: {CreateTags: 12, DescribeInstances: 2, RunInstances: 2}
refusals:
  description: Number of requests that AWS did not fulfil, by kind.
  returned: when the plan could be made
  type: dict
  sample: {capacity: 1}
paced_seconds:
  description: Seconds that requests have waited for the account's limits, summed over all threads.
  returned: when the plan could be made
  type: float
  sample: 0.0
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import argument_spec
from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import halt_of, parameter_orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import NO_ORDERS
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Clock, SystemClock
from ansible_collections.algo.trading.plugins.module_utils.fleet.placement import CapacityMemory
from ansible_collections.algo.trading.plugins.module_utils.fleet.planfile import SavedPlan
from ansible_collections.algo.trading.plugins.module_utils.fleet.progress import ProgressFile
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import DECIDING, MODULE
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def returned(result: FleetResult, settings: FleetSettings, *, models: int, check: bool) -> dict[str, Any]:
    """The result as the module returns it. ``models``: how many were given."""
    plan = [
        {
            **line.as_dict(),
            "reason": result.reason(line),
            "name": line.model or f"{line.instance_id} (unclaimed)",
            "type": "trading server",
            "component": settings.component,
            "status": result.status(line, check=check),
        }
        for line in result.plan.lines
    ]
    return {
        "changed": result.changed,
        "plan": plan,
        "servers": result.servers,
        "models": models,
        "counts": result.plan.counts,
        "unplaced": result.unplaced,
        "held": result.held,
        "halt": result.halt,
        "orders": result.orders,
        "api_calls": result.api_calls,
        "refusals": result.refusals,
        "paced_seconds": result.paced_seconds,
    }


def run(
    params: Mapping[str, Any], client: Callable[..., Any], clock: Clock, *, check: bool
) -> tuple[FleetSettings, FleetResult]:
    """Read the module's parameters, decide, and act unless in check mode. `client` makes a boto3 client."""
    settings = FleetSettings.from_dict({name: params[name] for name in DECIDING})
    saved = SavedPlan.load(settings, params["apply_plan"]) if params["apply_plan"] else None
    halt, orders = "", NO_ORDERS
    if settings.halt_parameter and settings.state == "present":
        planned = params["halt_planned"] if check else ""
        orders, unknown = parameter_orders(client("ssm"), settings.halt_parameter, planned=planned or "")
        halt = halt_of(settings.halt_parameter, orders, unknown, clock.now())
    # Retries are ours: botocore's would hide refusals from the pacing, and repeat in lockstep.
    config = {
        "retries": {"total_max_attempts": 1},
        "max_pool_connections": settings.workers + 8,
        "connect_timeout": 10,
        "read_timeout": 60,
    }
    result = reconcile(
        settings,
        params["models"],
        client("ec2", config=config),
        check=check,
        clock=clock,
        progress=ProgressFile(params["progress_file"], clock) if params["progress_file"] else None,
        memory=CapacityMemory(clock, params["capacity_memory"] or ""),
        saved=saved,
        halt=halt,
        orders=orders,
    )
    if params["save_plan"]:
        SavedPlan.of(settings, result.plan).save(params["save_plan"])
    return settings, result


def main() -> None:
    module = AnsibleAWSModule(argument_spec=argument_spec(MODULE), supports_check_mode=True)
    try:
        settings, result = run(module.params, module.client, SystemClock(), check=module.check_mode)
    except FleetError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"Cannot write {exc.filename}: {exc.strerror}. Use another path.")
    models = len(module.params["models"] or ())
    answer = returned(result, settings, models=models, check=module.check_mode)
    if module._diff:
        shown = [str(line) for line in result.plan.lines if line.action != "no-op"]
        answer["diff"] = {"prepared": "".join(f"{line}\n" for line in shown)}
    if result.halt:
        module.warn(f"{result.halt}. Launches, starts, restarts and replacements are held.")
    held = [entry for entry in result.held if not (result.halt and result.halt in entry["reason"])]
    for entry in held[:20]:
        module.warn(f"{entry['model']}: {entry['reason']}")
    if len(held) > 20:
        module.warn(f"{len(held) - 20} more are held; see held in the result")
    if result.failed:
        module.fail_json(msg=result.message, **answer)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
