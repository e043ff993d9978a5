#!/usr/bin/python
# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: environment_health
version_added: 0.1.0
short_description: Report what of an environment AWS calls unhealthy
description:
  - Judges every resource of an environment by the state that AWS reports for it.
  - Builds on the reading of M(algo.trading.environment_info) that the run keeps in C(algo_account). Read again are only
    the resource types that M(algo.trading.resources) has changed in this run, also where a change failed, and those
    with a resource that was not healthy before; of these, only types that have a state at all.
  - Without such a reading, everything is read.
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
    description: Names of the environment's buckets.
    type: list
    elements: str
    default: []
  read:
    description:
      - V(changed) reads again what this run may have changed and what was not healthy.
      - V(all) reads everything again, for an environment that others may have changed meanwhile.
    type: str
    choices: [changed, all]
    default: changed
  summary:
    description:
      - Name of a variable whose value becomes the C(summary) of the run's end, as M(ansible.builtin.set_stats) would
        hand it on. Its templates can use C(result), what this task returns.
    type: str
attributes:
  check_mode:
    description:
      - Reads nothing with O(read=changed), for nothing is changed, and reports nothing as unhealthy. Otherwise reads as
        a run does.
    support: full
author:
  - The algo.trading authors (@algo-trading)
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Verify what this run has changed
  algo.trading.environment_health:
    project: algo-trading
    environment: qa
  register: health
"""

RETURN = r"""
unhealthy:
  description: Resources in a state that does not recover by itself, one sentence each.
  returned: success
  type: list
  elements: str
  sample: [database algo-trading-mlflow-server-qa is failed]
unsettled:
  description: Resources that AWS is changing or that somebody has stopped, one sentence each.
  returned: success
  type: list
  elements: str
  sample: []
read:
  description: Modules whose resource types were read again.
  returned: success
  type: list
  elements: str
  sample: [amazon.aws.rds_instance]
"""
