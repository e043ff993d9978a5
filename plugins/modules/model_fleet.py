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
    the plan is the difference. In check mode nothing but C(DescribeInstances) is called, so the image, network,
    security groups and instance profile need not exist yet.
  - Instances with equal launch settings are launched together (C(RunInstances) with a client token that only depends
    on what is wanted), without a model. Each then becomes a model's server by its claim, one C(CreateTags). Unclaimed
    instances that an interrupted run has left are adopted. So neither a crash nor a retry nor a second operator makes
    a duplicate or loses a model.
  - The host learns from its tags (instance metadata service) which model it serves, and waits for its claim. The
    configuration that the launch group shares is in its user data, which cloud-init writes to
    C(/etc/algo-trading/fleet.json).
  - Requests are paced by AWS's published limits, shared by all threads. See O(rate_limits).
  - Only instances that carry all of the tags C(Project), C(Environment), C(Component) and C(ManagedBy=algo.trading)
    with the values of this fleet are ever looked at.
author:
  - The algo.trading authors (@algo-trading)
options:
  project:
    description: The project, first part of all names and value of the tag C(Project).
    type: str
    required: true
  environment:
    description: The environment, last part of all names and value of the tag C(Environment).
    type: str
    required: true
  component:
    description: Value of the tag C(Component).
    type: str
    default: trading_server
  models:
    description:
      - One dictionary per model, as P(algo.trading.s3_models#lookup) returns it. C(name), C(type), C(symbol) and
        C(model) are required; C(outer), C(inner), C(uri), C(version) and C(status) are used; other keys are ignored.
      - From a model whose C(status) is V(publishing) nothing is launched, started anew or replaced. Its server stays as
        it is, and the plan holds the change with that reason.
      - C(name) identifies a model within the environment. C(version) may be empty, then it is never compared.
      - Ignored when O(state=absent).
    type: list
    elements: dict
    default: []
  state:
    description:
      - With V(absent) all instances of this fleet are terminated, whatever O(models) says. Neither
        O(max_terminate_share) nor O(session) applies then. Protected instances stay, and are reported.
    type: str
    choices: [present, absent]
    default: present
  image_id:
    description: The AMI. Needed to create or replace.
    type: str
  instance_types:
    description:
      - Instance types, best first. The next one is tried where there is no capacity for the one before.
      - An instance whose type is in the list counts as wanted, also if it is not the first.
    type: list
    elements: str
    default: []
  subnet_ids:
    description: Subnets, over which the models are spread evenly. Where one has no capacity, the others are tried.
    type: list
    elements: str
    default: []
  security_group_ids:
    description: Security groups of the instances.
    type: list
    elements: str
    default: []
  instance_profile_name:
    description: Name of the instance profile.
    type: str
  user_data:
    description:
      - A script or cloud-config for cloud-init, run after the configuration has been written.
      - Together with O(configuration) it must fit into 16384 bytes.
    type: str
  configuration:
    description:
      - Configuration that is injected into every server through its user data. Not for secrets, which anybody on the
        host could read there.
    type: dict
    default: {}
  market:
    description:
      - How capacity is bought. V(spot) uses one-time requests. Such an instance cannot be stopped, only ended.
    type: str
    choices: [on-demand, spot]
    default: on-demand
  monitoring:
    description: Whether detailed monitoring is on.
    type: bool
    default: false
  metadata_hop_limit:
    description: Hop limit of the instance metadata service. Version 2 is always required, tags are always readable.
    type: int
    default: 1
  root_volume:
    description: The root volume.
    type: dict
    suboptions:
      size:
        description: Size in GiB.
        type: int
        default: 8
      type:
        description: Volume type.
        type: str
        choices: [gp2, gp3, io1, io2, st1, sc1, standard]
        default: gp3
      iops:
        description: Operations per second, 0 for the type's default.
        type: int
        default: 0
      throughput:
        description: MiB per second, 0 for the type's default.
        type: int
        default: 0
      encrypted:
        description: Whether it is encrypted.
        type: bool
        default: true
      kms_key_id:
        description: Key for encryption, the account's default one if empty.
        type: str
      device_name:
        description: Name of the image's root device.
        type: str
        default: /dev/xvda
  overrides:
    description:
      - Launch settings for some of the models. Later ones win over earlier ones. Models with different settings are
        launched in different groups.
    type: list
    elements: dict
    default: []
    suboptions:
      type:
        description: Model types that this is for. All, if empty.
        type: list
        elements: str
      symbol:
        description: Symbols that this is for. All, if empty.
        type: list
        elements: str
      model:
        description: Models that this is for, by C(model) or full C(name). All, if empty.
        type: list
        elements: str
      image_id:
        description: Replaces O(image_id).
        type: str
      instance_types:
        description: Replaces O(instance_types).
        type: list
        elements: str
      subnet_ids:
        description: Replaces O(subnet_ids).
        type: list
        elements: str
      security_group_ids:
        description: Replaces O(security_group_ids).
        type: list
        elements: str
      instance_profile_name:
        description: Replaces O(instance_profile_name).
        type: str
      user_data:
        description: Replaces O(user_data).
        type: str
      market:
        description: Replaces O(market).
        type: str
        choices: [on-demand, spot]
      configuration:
        description: Is merged into O(configuration), nested dictionaries too.
        type: dict
  tags:
    description:
      - More tags for the instances. Keys may contain neither V(/) nor spaces, for EC2 refuses such keys where tags can
        be read from the metadata service. Tags that are on an instance but not here are left alone.
    type: dict
    default: {}
  selection:
    description: Only these models and their instances are looked at, the rest of the fleet is left alone.
    type: dict
    suboptions:
      types:
        description: Model types. All, if empty.
        type: list
        elements: str
      symbols:
        description: Symbols. All, if empty.
        type: list
        elements: str
      models:
        description: Models, by C(model) or full C(name). All, if empty.
        type: list
        elements: str
  power:
    description:
      - What a stopped instance means whose model is still listed.
      - With V(running) it is started. This is what opens the trading day.
      - With V(keep) it is left stopped, with that reason in the plan. Use this for runs during the night, so that they
        do not fight the shutdown. New instances are still launched, and run until the next shutdown.
      - With V(stopped) running ones are stopped and none is created.
    type: str
    choices: [running, keep, stopped]
    default: running
  on_change:
    description:
      - What is done about an instance that is no longer as wanted.
      - With V(replace) a new instance takes its place. With V(restart) its tags are brought up to date and it is
        rebooted, or stopped, modified and started where the change needs that. With V(reconfigure) only its tags are
        brought up to date, and the host is to notice. With V(ignore) it is left.
    type: dict
    suboptions:
      version:
        description: Another version of the model.
        type: str
        choices: [restart, reconfigure, replace, ignore]
        default: restart
      configuration:
        description: Other O(configuration) or O(user_data).
        type: str
        choices: [replace, restart, reconfigure, ignore]
        default: replace
      instance_type:
        description: A type that is no longer in O(instance_types).
        type: str
        choices: [replace, restart, ignore]
        default: replace
      image:
        description: Another O(image_id).
        type: str
        choices: [replace, ignore]
        default: replace
      launch:
        description: Another security group, profile, volume, market, monitoring or metadata setting.
        type: str
        choices: [replace, ignore]
        default: replace
      subnet:
        description: A subnet that is no longer in O(subnet_ids).
        type: str
        choices: [ignore, replace]
        default: ignore
  replace:
    description: How servers are replaced and restarted, batch by batch, each waiting for the health of the one before.
    type: dict
    suboptions:
      batch_size:
        description: Servers per batch.
        type: int
        default: 10
      max_unavailable:
        description:
          - At most so many servers may be away or unhealthy at once. Those that were not healthy before count. As many
            as O(replace.batch_size) by default.
        type: int
      surge:
        description:
          - Whether successors are launched before the old servers end. They wait, unclaimed, so there are never two
            servers for one model.
        type: bool
        default: true
      force:
        description: Go on although the trading O(session) is open.
        type: bool
        default: false
  session:
    description:
      - The trading session. While it is open, no running server is restarted, replaced, stopped or terminated. These
        lines are held, with the reason. New servers are launched, and duplicates are ended, at any time.
      - Either a daily window (V(09:30) to V(16:00)), or the date and time of one session, with offset.
    type: dict
    suboptions:
      open:
        description: When it opens.
        type: str
        required: true
      close:
        description: When it closes.
        type: str
        required: true
      timezone:
        description: Time zone of a daily window.
        type: str
        default: America/New_York
      days:
        description: Days of a daily window, V(mon) to V(sun). Monday to Friday by default.
        type: list
        elements: str
  health:
    description: What a restarted or replaced server must show before the next batch.
    type: dict
    suboptions:
      check:
        description:
          - With V(status) EC2's two status checks are passed. With V(tag) the instance has the tag of
            O(health.tag) with the value of O(health.value), which the host or a monitor sets. With V(none) it runs.
        type: str
        choices: [status, tag, none]
        default: status
      tag:
        description: The tag to look at.
        type: str
        default: Health
      value:
        description: The value that means healthy.
        type: str
        default: ok
      timeout:
        description: Seconds to wait for it, per batch.
        type: int
        default: 300
  protect_tags:
    description: An instance with one of these tags and values is neither terminated nor replaced.
    type: dict
    default: {Stateful: 'true', Protected: 'true'}
  max_terminate_share:
    description:
      - Share of the fleet, 0 to 1, that may be terminated in one run because models are no longer listed. If it would
        be more, nothing at all is done and the message names them. Guards against an empty or shrunken listing, a wrong
        bucket, a changed pattern.
    type: float
    default: 0.2
  launch_batch:
    description: Instances per C(RunInstances). AWS advises 100.
    type: int
    default: 100
  action_batch:
    description: Instances per request that starts, stops, terminates or tags several.
    type: int
    default: 500
  workers:
    description: Threads that claim instances.
    type: int
    default: 16
  rate_limits:
    description:
      - EC2's request limits in this account and region. V(factor) multiplies all of AWS's published numbers, 0 switches
        pacing off. A dictionary under an operation's name replaces single numbers, which are V(bucket), V(refill),
        V(resource_bucket) and V(resource_refill), the refills per second.
    type: dict
    default: {}
  wait:
    description: Whether to wait until what was launched or started is running.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait for it.
    type: int
    default: 600
  claim_grace:
    description:
      - An unclaimed instance that no model needs is terminated after so many seconds, because until then another
        operator may be about to claim it.
    type: int
    default: 300
  save_plan:
    description:
      - File on the host that runs the module, where the plan is written to, to be looked at and given to O(apply_plan)
        later. Written in check mode too.
    type: path
  apply_plan:
    description:
      - A file that O(save_plan) has written. The run is refused, and shows the difference, unless its own plan is the
        same.
    type: path
  capacity_memory:
    description:
      - File in which the module remembers for five minutes what had no capacity, so that the next run does not ask
        again. Without it, only the run itself remembers.
    type: path
  progress_file:
    description: File to which lines of progress are appended. The action plugin sets and shows it.
    type: path
  show_table:
    description:
      - Whether a table is shown at the end, of V(all) servers, of the V(changed) ones, or V(none).
    type: str
    choices: [all, changed, none]
    default: changed
attributes:
  check_mode:
    description: Makes the plan that a real run would carry out.
    support: full
  diff_mode:
    description: Shows the plan, each line with its reason.
    support: full
extends_documentation_fragment:
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
servers:
  description: One entry per wanted (and selected) model, sorted by name, as it is at the end of the run.
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
      sample: as wanted
    problem:
      description: Why it is not as wanted, empty if it is.
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
  description: The models that are not as wanted although the run has tried. The next run goes on with them.
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
        - What stands in the way. One of V(capacity), V(quota), V(throttled), V(denied), V(parameter), V(protected),
          V(transient), V(idempotency), V(not_found), V(subnet_full) and V(unknown).
      type: str
      sample: capacity
    reason:
      description: What was tried, what AWS said, what to do.
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

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import SystemClock
from ansible_collections.algo.trading.plugins.module_utils.fleet.placement import CapacityMemory
from ansible_collections.algo.trading.plugins.module_utils.fleet.planfile import SavedPlan
from ansible_collections.algo.trading.plugins.module_utils.fleet.progress import ProgressFile
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import ON_CHANGE, FleetSettings
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

_LIST = {"type": "list", "elements": "str"}
_MARKET = {"type": "str", "choices": ["on-demand", "spot"]}
# Options of the module that are no settings of the fleet.
_NOT_SETTINGS = ("models", "save_plan", "apply_plan", "capacity_memory", "progress_file", "show_table")


def argument_spec() -> dict[str, Any]:
    return {
        "project": {"type": "str", "required": True},
        "environment": {"type": "str", "required": True},
        "component": {"type": "str", "default": "trading_server"},
        "models": {"type": "list", "elements": "dict", "default": []},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "image_id": {"type": "str"},
        "instance_types": {**_LIST, "default": []},
        "subnet_ids": {**_LIST, "default": []},
        "security_group_ids": {**_LIST, "default": []},
        "instance_profile_name": {"type": "str"},
        "user_data": {"type": "str"},
        "configuration": {"type": "dict", "default": {}},
        "market": {**_MARKET, "default": "on-demand"},
        "monitoring": {"type": "bool", "default": False},
        "metadata_hop_limit": {"type": "int", "default": 1},
        "root_volume": {
            "type": "dict",
            "options": {
                "size": {"type": "int", "default": 8},
                "type": {
                    "type": "str",
                    "choices": ["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"],
                    "default": "gp3",
                },
                "iops": {"type": "int", "default": 0},
                "throughput": {"type": "int", "default": 0},
                "encrypted": {"type": "bool", "default": True},
                "kms_key_id": {"type": "str", "no_log": False},
                "device_name": {"type": "str", "default": "/dev/xvda"},
            },
        },
        "overrides": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "type": _LIST,
                "symbol": _LIST,
                "model": _LIST,
                "image_id": {"type": "str"},
                "instance_types": _LIST,
                "subnet_ids": _LIST,
                "security_group_ids": _LIST,
                "instance_profile_name": {"type": "str"},
                "user_data": {"type": "str"},
                "market": _MARKET,
                "configuration": {"type": "dict"},
            },
        },
        "tags": {"type": "dict", "default": {}},
        "selection": {"type": "dict", "options": {"types": _LIST, "symbols": _LIST, "models": _LIST}},
        "power": {"type": "str", "choices": ["running", "keep", "stopped"], "default": "running"},
        "on_change": {
            "type": "dict",
            "options": {
                what: {"type": "str", "choices": list(how), "default": how[0]} for what, how in ON_CHANGE.items()
            },
        },
        "replace": {
            "type": "dict",
            "options": {
                "batch_size": {"type": "int", "default": 10},
                "max_unavailable": {"type": "int"},
                "surge": {"type": "bool", "default": True},
                "force": {"type": "bool", "default": False},
            },
        },
        "session": {
            "type": "dict",
            "options": {
                "open": {"type": "str", "required": True},
                "close": {"type": "str", "required": True},
                "timezone": {"type": "str", "default": "America/New_York"},
                "days": _LIST,
            },
        },
        "health": {
            "type": "dict",
            "options": {
                "check": {"type": "str", "choices": ["status", "tag", "none"], "default": "status"},
                "tag": {"type": "str", "default": "Health"},
                "value": {"type": "str", "default": "ok"},
                "timeout": {"type": "int", "default": 300},
            },
        },
        "protect_tags": {"type": "dict", "default": {"Stateful": "true", "Protected": "true"}},
        "max_terminate_share": {"type": "float", "default": 0.2},
        "launch_batch": {"type": "int", "default": 100},
        "action_batch": {"type": "int", "default": 500},
        "workers": {"type": "int", "default": 16},
        "rate_limits": {"type": "dict", "default": {}},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 600},
        "claim_grace": {"type": "int", "default": 300},
        "save_plan": {"type": "path"},
        "apply_plan": {"type": "path"},
        "capacity_memory": {"type": "path"},
        "progress_file": {"type": "path"},
        "show_table": {"type": "str", "choices": ["all", "changed", "none"], "default": "changed"},
    }


def returned(result: FleetResult, settings: FleetSettings, *, check: bool) -> dict[str, Any]:
    """The result as the module returns it."""
    failed = {entry["model"] for entry in result.unplaced}
    plan = [
        {
            **line.as_dict(),
            "name": line.model or f"{line.instance_id} (unclaimed)",
            "type": "trading server",
            "component": settings.component,
            "status": "planned" if check else "failed" if (line.model or line.instance_id) in failed else "done",
        }
        for line in result.plan.lines
    ]
    return {
        "changed": result.changed,
        "plan": plan,
        "servers": result.servers,
        "counts": result.plan.counts,
        "unplaced": result.unplaced,
        "held": result.held,
        "api_calls": result.api_calls,
        "refusals": result.refusals,
        "paced_seconds": result.paced_seconds,
    }


def main() -> None:
    spec = argument_spec()
    module = AnsibleAWSModule(argument_spec=spec, supports_check_mode=True)
    params = module.params
    given = {key: _given(params[key]) for key in spec if key not in _NOT_SETTINGS and params[key] is not None}
    clock = SystemClock()
    try:
        settings = FleetSettings.from_dict(given)
        saved = SavedPlan.load(settings, params["apply_plan"]) if params["apply_plan"] else None
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
            module.client("ec2", config=config),
            check=module.check_mode,
            clock=clock,
            progress=ProgressFile(params["progress_file"], clock) if params["progress_file"] else None,
            memory=CapacityMemory(clock, params["capacity_memory"] or ""),
            saved=saved,
        )
        if params["save_plan"]:
            SavedPlan.of(settings, result.plan).save(params["save_plan"])
    except FleetError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"Cannot write {exc.filename}: {exc.strerror}. Give another path.")
    answer = returned(result, settings, check=module.check_mode)
    if module._diff:
        shown = [str(line) for line in result.plan.lines if line.action != "no-op"]
        answer["diff"] = {"prepared": "".join(f"{line}\n" for line in shown)}
    for entry in result.held[:20]:
        module.warn(f"{entry['model']}: {entry['reason']}")
    if len(result.held) > 20:
        module.warn(f"{len(result.held) - 20} more are held; see held in the result")
    if result.failed:
        module.fail_json(msg=result.message, **answer)
    module.exit_json(**answer)


def _given(value: Any) -> Any:
    """Without the sub-options that were left out, which have their defaults in the settings."""
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_given(item) for item in value]
    return value


if __name__ == "__main__":
    main()
