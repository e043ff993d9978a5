#!/usr/bin/python
# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: environment_info
version_added: 0.1.0
short_description: Read the resources of an environment
description:
  - Reads, in one process and side by side, every resource that belongs to one environment of one project, and the
    few facts about the account and region that settings are checked against.
  - Tags are the state. What carries the environment's C(Project), C(Environment) and C(ManagedBy) tags is ours; what
    merely has one of our names is returned too, marked as not ours, so that a run can refuse before it changes
    anything.
  - Trading servers, of which there may be a thousand, are left to M(algo.trading.model_fleet).
options:
  project:
    description: Name of the project, the value of the C(Project) tag.
    type: str
    required: true
  environment:
    description: Name of the environment, the value of the C(Environment) tag.
    type: str
    required: true
  buckets:
    description: Names of the environment's buckets. Bucket names are global, so none is ever searched for.
    type: list
    elements: str
    default: []
  adopt:
    description: Names of externally owned resources to adopt. They are read in full.
    type: list
    elements: str
    default: []
  images:
    description:
      - Machine images to resolve, by any label. A value that starts with V(ami-) is looked up as it is, one that
        starts with V(/) is a public SSM parameter that holds the id.
    type: dict
    default: {}
  instance_types:
    description: Instance types that the region must offer.
    type: list
    elements: str
    default: []
  settings:
    description:
      - The settings, as M(algo.trading.settings) has returned them. With them the task fails, and says that nothing was
        changed, if the account does not fit them. Finds credentials of another account, instance types, images and
        zones that the region does not have, buckets that cannot be used, resources with names of the environment but
        without its tags, and names in C(algo_adopt) that match nothing.
      - Compared on the controller; the settings are not passed to the module.
    type: dict
  components:
    description: The components of the run, which O(settings) is compared for; none for a removal.
    type: list
    elements: str
    default: []
  modules:
    description: Read only what these modules manage. All by default.
    type: list
    elements: str
  leftovers:
    description:
      - Also ask the Resource Groups Tagging API for everything that carries the environment's tags, as a check that
        nothing is left after a removal.
    type: bool
    default: false
  leftovers_timeout:
    description: Seconds to keep asking while something is left; the tagging API lags behind removals.
    type: int
    default: 0
author:
  - The algo.trading authors (@algo-trading)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Read what qa consists of
  algo.trading.environment_info:
    project: algo-trading
    environment: qa
    buckets: [algo-model-deploy]
    images:
      debian: /aws/service/debian/release/12/latest/arm64
    region: us-east-1
  register: environment_now

- name: Fail if the account does not fit the settings
  algo.trading.environment_info:
    project: algo-trading
    environment: qa
    settings: "{{ checked.settings }}"
    components: [network, mlflow_server]

- name: Show its VPC
  ansible.builtin.debug:
    var: environment_now.resources['amazon.aws.ec2_vpc_net']
"""

RETURN = r"""
resources:
  description: Module that manages the resource type, to the resource's name, to what was found.
  returned: always
  type: dict
  sample:
    amazon.aws.s3_bucket:
      algo-model-deploy:
        ours: true
        component: trading_server
        settings: {versioning: true}
        attributes: {arn: 'arn:aws:s3:::algo-model-deploy'}
        tags: {Project: algo-trading, Environment: qa}
account_id:
  description: The account that the credentials belong to.
  returned: always
  type: str
  sample: '123456789012'
partition:
  description: The AWS partition of the account.
  returned: always
  type: str
  sample: aws
caller_arn:
  description: ARN of the caller's identity.
  returned: always
  type: str
  sample: arn:aws:sts::123456789012:assumed-role/deploy/awx
embedded:
  description: Whether an emulator answered rather than AWS itself.
  returned: always
  type: bool
  sample: false
missing:
  description: Modules whose resource types an emulator does not support. Always empty with AWS itself.
  returned: always
  type: list
  elements: str
  sample: []
region:
  description: The region that was read.
  returned: always
  type: str
  sample: us-east-1
zones:
  description: The region's usable availability zones, sorted.
  returned: always
  type: list
  elements: str
  sample: [us-east-1a, us-east-1b]
images:
  description: Label to machine image, with its I(id), I(name), I(architecture) and I(root_device_name). An image that
    could not be resolved has an I(error) instead; one that an emulator does not know has I(stand_in).
  returned: always
  type: dict
  sample: {debian: {id: ami-0123456789abcdef0, name: debian-12-arm64, architecture: arm64, root_device_name: /dev/xvda}}
unknown_instance_types:
  description: Those of O(instance_types) that the region does not offer.
  returned: always
  type: list
  elements: str
  sample: []
leftovers:
  description: ARNs of existing resources that carry the environment's tags.
  returned: when O(leftovers) is true
  type: list
  elements: str
  sample: []
kept:
  description: ARNs of what a removal leaves on purpose, final snapshots, secrets in their recovery window and machine
    images.
  returned: when O(leftovers) is true
  type: list
  elements: str
  sample: ['arn:aws:rds:us-east-1:123456789012:snapshot:algo-trading-mlflow-server-qa-final-20260102030405']
"""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import Clients, Reading
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.account import (
    account_facts,
    is_embedded,
    leftovers,
    offered_zones,
    resolve_images,
    unknown_instance_types,
)
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES, read_environment
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

_ASK_AGAIN_SECONDS = 15

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    pass  # AnsibleAWSModule says what is missing


def _settled_leftovers(reading: Reading, scope: Scope, timeout: int) -> dict[str, list[str]]:
    give_up = time.monotonic() + timeout
    while True:
        found = leftovers(reading, scope)
        if not found["left"] or time.monotonic() >= give_up:
            return {"leftovers": found["left"], "kept": found["kept"]}
        time.sleep(_ASK_AGAIN_SECONDS)


def _offers(pool: ThreadPoolExecutor, reading: Reading, params: Mapping[str, Any]) -> dict[str, Future[Any]]:
    """What the region offers, asked for while the environment is read."""
    return {
        "zones": pool.submit(offered_zones, reading),
        "images": pool.submit(resolve_images, reading, params["images"]),
        "unknown_instance_types": pool.submit(unknown_instance_types, reading, params["instance_types"]),
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "buckets": {"type": "list", "elements": "str", "default": []},
            "adopt": {"type": "list", "elements": "str", "default": []},
            "images": {"type": "dict", "default": {}},
            "instance_types": {"type": "list", "elements": "str", "default": []},
            # These two are the action's: the controller compares them.
            "settings": {"type": "dict"},
            "components": {"type": "list", "elements": "str", "default": []},
            "modules": {"type": "list", "elements": "str"},
            "leftovers": {"type": "bool", "default": False},
            "leftovers_timeout": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted = module.params["modules"]
    unknown = sorted(set(wanted or ()) - TYPES.keys())
    if unknown:
        module.fail_json(msg=f"Unknown resource types: {', '.join(unknown)}. Known: {', '.join(sorted(TYPES))}.")
    scope = Scope(
        module.params["project"],
        module.params["environment"],
        module.region,
        tuple(module.params["buckets"]),
        tuple(module.params["adopt"]),
    )
    reading = Reading(Clients(module.client))
    try:
        embedded = is_embedded(reading)
        missing: list[str] = []
        kinds = [TYPES[name] for name in wanted] if wanted else None
        result = {**account_facts(reading), "embedded": embedded, "region": module.region}
        with ThreadPoolExecutor() as pool:
            beside = {} if wanted else _offers(pool, reading, module.params)
            result["resources"] = read_environment(reading, scope, kinds, missing if embedded else None)
            result["missing"] = sorted(missing)
            result |= {name: answer.result() for name, answer in beside.items()}
        if module.params["leftovers"]:
            result |= _settled_leftovers(reading, scope, module.params["leftovers_timeout"])
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(
            error,
            msg=f"Reading environment {scope.environment} of project {scope.project} in {module.region} failed. "
            "Nothing was changed. Check the credentials (`aws sts get-caller-identity`), the region, and that the "
            "identity may read what the error names",
        )
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
