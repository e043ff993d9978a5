#!/usr/bin/python
# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: resource
version_added: 0.1.0
short_description: Make one resource of an environment match its settings
description:
  - Compares what a resource should be with what M(algo.trading.environment_info) found, and calls the resource's own
    Ansible module only when something is to be done. A run that changes nothing starts no module.
  - Check mode gives the same decision with the same reasons, also for what depends on resources that do not exist
    yet; their ids are then V((known after apply)).
  - Checks the arguments against the documentation of that module before it decides, and refuses those that it could not
    compare. So what a plan shows is what a run does.
  - Adds the environment's tags and the name, does not touch resources without those tags, and refuses
    changes that AWS cannot make to a resource which holds data.
options:
  module:
    description: Fully qualified name of the module that manages this kind of resource.
    type: str
    required: true
  name:
    description:
      - The resource's name. Becomes its C(Name) tag, and the module's own name argument where it has one.
    type: str
    required: true
  settings:
    description:
      - The module's arguments without name, tags and connection.
      - An argument that no reading of the account reports is refused here. It can be given in O(once).
    type: dict
    default: {}
  state:
    description: Whether the resource should exist.
    type: str
    choices: [present, absent]
    default: present
  component:
    description:
      - The component that the resource belongs to, the value of its C(Component) tag.
      - By default the component of the role that the task stands in.
    type: str
  once:
    description:
      - Arguments that are passed when the resource is made and are never compared, such as a first password.
    type: dict
    default: {}
  alternatives:
    description:
      - Settings of which one set is enough, best first, such as instance types and subnets. They are tried in this
        order where AWS has none to give.
      - A resource that was made from any of them is up to date.
    type: list
    elements: dict
    default: []
  disable_protection:
    description:
      - Whether to delete a resource despite deletion protection, such as a database's,
        which is turned off first. For the removal of a whole environment that was confirmed.
    type: bool
    default: false
attributes:
  check_mode:
    description: Decides exactly as a real run does, and calls nothing that writes.
    support: full
  diff_mode:
    description: Shows the settings that differ.
    support: full
notes:
  - Reads the variables C(algo_state) (set from M(algo.trading.environment_info)), C(algo_project), C(algo_environment),
    C(algo_tags) and C(algo_aws_connection), the arguments that every call to AWS gets.
  - The check mode of a plain amazon.aws module fails on an empty account or says that something would change, without
    saying what; that is why this action exists.
author:
  - The algo.trading authors (@algo-trading)
"""

EXAMPLES = r"""
- name: Create the artifact bucket
  algo.trading.resource:
    module: amazon.aws.s3_bucket
    name: algo-trading-mlflow-server-qa-123456789012
    settings:
      versioning: true
      encryption: AES256
  register: artifact_bucket

- name: Remove the schedule that dev does not have
  algo.trading.resource:
    module: algo.trading.scheduler_schedule
    name: algo-trading-trading-server-shutdown-dev/shutdown
    state: absent
"""

RETURN = r"""
action:
  description: The decision.
  returned: always
  type: str
  sample: update
reasons:
  description: Why, in words.
  returned: always
  type: list
  elements: str
  sample: ['versioning: false → true']
plan:
  description: The decision as a line of the run's plan.
  returned: always
  type: list
  elements: dict
  sample:
    - action: update
      type: S3 bucket
      name: algo-trading-mlflow-server-qa-123456789012
      component: mlflow_server
      reasons: ['versioning: false → true']
resource:
  description: What other resources refer to, such as its id or ARN; empty for what is absent.
  returned: always
  type: dict
  sample: {id: vpc-0123456789abcdef0}
"""
