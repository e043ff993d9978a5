#!/usr/bin/python
# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: settings
version_added: 0.1.0
short_description: Check all settings of an environment before any AWS call
description:
  - Checks every setting against the argument specs of the roles that use it, and the settings against each other and
    against those of the other environments in the same project.
  - Reports all errors at once, each with file, line and what is valid.
  - Knows the roles' defaults, so what it returns is what a run will use.
options:
  roles:
    description: Names of the roles, in this collection, whose settings these are.
    type: list
    elements: str
    required: true
  components:
    description: Names of the components that the run is about. What their hosts are made from is returned.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: Reads only files of the project.
    support: full
author:
  - The algo.trading authors (@algo-trading)
"""

EXAMPLES = r"""
- name: Check the settings
  algo.trading.settings:
    roles: [aws_environment, aws_network, aws_mlflow_server]
    components: [network, mlflow_server]
  register: checked
"""

RETURN = r"""
settings:
  description: The effective settings, defaults included.
  returned: success
  type: dict
  sample: {algo_environment: qa, aws_network_cidr: 10.30.0.0/16}
instance_types:
  description: The instance types of O(components), to be looked up in the region.
  returned: success
  type: list
  elements: str
  sample: [t4g.small]
images:
  description: Label to source of the machine images of O(components), from C(algo_release.images).
  returned: success
  type: dict
  sample: {host: /aws/service/debian/release/12/latest/arm64}
findings:
  description: The errors, one line each.
  returned: always
  type: list
  elements: str
  sample: ['algo_region: eu-west-9 does not belong to qa, whose regions are us-east-1.']
"""
