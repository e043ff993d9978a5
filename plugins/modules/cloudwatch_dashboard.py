#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cloudwatch_dashboard
version_added: 0.1.0
short_description: Manage a dashboard of Amazon CloudWatch
description:
  - Creates, updates and deletes a dashboard of Amazon CloudWatch.
  - The body is compared by its meaning. Blanks and the order of keys are no difference.
author:
  - The algo.trading authors (@algo-trading)
options:
  name:
    description: Name of the dashboard, unique in the account.
    type: str
    required: true
  state:
    description: Whether the dashboard should exist.
    type: str
    choices: [present, absent]
    default: present
  body:
    description:
      - The dashboard's widgets, as a dictionary or as JSON, see
        U(https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html).
      - Required to create one.
    type: raw
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Shows body and tags before and after.
    support: full
notes:
  - CloudWatch keeps what it does not understand of a body and does not show it. The module warns of it.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Show the errors of a function
  algo.trading.cloudwatch_dashboard:
    name: algo-trading-trading-server-shutdown-qa-day
    body:
      widgets:
        - type: metric
          width: 12
          height: 6
          properties:
            region: us-east-1
            title: Errors
            metrics:
              - [AWS/Lambda, Errors, FunctionName, algo-trading-trading-server-shutdown-qa]
    tags:
      Project: algo-trading
      Environment: qa

- name: Remove it
  algo.trading.cloudwatch_dashboard:
    name: algo-trading-trading-server-shutdown-qa-day
    state: absent
"""

RETURN = r"""
dashboard:
  description: The dashboard, in check mode as it would be. Empty where there is none.
  returned: always
  type: dict
  contains:
    arn:
      description: ARN of the dashboard.
      returned: when the dashboard existed before
      type: str
      sample: arn:aws:cloudwatch::123456789012:dashboard/algo-trading-trading-server-shutdown-qa-day
    body:
      description: What it shows.
      returned: when the dashboard exists
      type: dict
      sample: {widgets: []}
    name:
      description: Name of the dashboard.
      returned: when the dashboard exists
      type: str
      sample: algo-trading-trading-server-shutdown-qa-day
    tags:
      description: Tags of the dashboard.
      returned: when the dashboard exists
      type: dict
      sample: {Environment: qa, Project: algo-trading}
"""

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import Api, meaning
from ansible_collections.algo.trading.plugins.module_utils.aws_module import (
    TAG_OPTIONS,
    Outcome,
    change_tags,
    run_module,
    tag_change,
)
from ansible_collections.algo.trading.plugins.module_utils.cloudwatch_dashboard import (
    MISSING,
    body_problem,
    delete_dashboard,
    find_dashboard,
    put_dashboard,
)
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError


def ensure_absent(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    before = find_dashboard(api, params["name"])
    if not before:
        return Outcome(False, {}, {})
    return Outcome(check_mode or delete_dashboard(api, params["name"]), before, {})


def ensure_present(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    name = params["name"]
    before = find_dashboard(api, name)
    if not before and params["body"] is None:
        raise AnsibleAWSError(message=f"Dashboard {name} cannot be created without a body")
    body = meaning(params["body"]) if params["body"] is not None else before["body"]
    tags = tag_change(before.get("tags", {}), params)
    new_body = body != before.get("body")
    if not new_body and not tags.changed:
        return Outcome(False, before, before)
    after = {**before, "name": name, "body": body, "tags": tags.after}
    told: list[str] = []
    if not check_mode:
        # Tags count when a dashboard is made; those of one that exists are changed by themselves.
        if new_body:
            told = put_dashboard(api, name, body, {} if before else tags.to_set)
        if before:
            change_tags(api, before["arn"], tags, ResourceARN=before["arn"])
    hidden = tuple(f"CloudWatch does not show all of dashboard {name}: {message}" for message in told)
    return Outcome(True, before, after, hidden)


def main() -> None:
    run_module(
        service="cloudwatch",
        missing=MISSING,
        result="dashboard",
        options={"body": {"type": "raw"}, **TAG_OPTIONS},
        problem=lambda params: None if params["body"] is None else body_problem(params["body"]),
        present=ensure_present,
        absent=ensure_absent,
    )


if __name__ == "__main__":
    main()
