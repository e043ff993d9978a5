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
  tags:
    description: Tags of the dashboard. Left as they are where not given.
    type: dict
    aliases: [resource_tags]
  purge_tags:
    description: Whether tags that are not in O(tags) are removed.
    type: bool
    default: true
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

from ansible_collections.algo.trading.plugins.module_utils._aws import meaning
from ansible_collections.algo.trading.plugins.module_utils.cloudwatch_dashboard import (
    AnsibleDashboardError,
    body_problem,
    delete_dashboard,
    get_dashboard,
    put_dashboard,
    tag_dashboard,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import compare_aws_tags

Outcome = tuple[bool, dict[str, Any], dict[str, Any], list[str]]


def view(dashboard: dict[str, Any] | None) -> dict[str, Any]:
    """What users see of a dashboard, in results and in diffs."""
    if dashboard is None:
        return {}
    return {
        "name": dashboard["DashboardName"],
        "arn": dashboard["DashboardArn"],
        "body": meaning(dashboard["DashboardBody"]),
        "tags": dashboard["tags"],
    }


def ensure_absent(client: Any, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Return changed, before, after and warnings."""
    before = view(get_dashboard(client, params["name"]))
    if not before:
        return False, {}, {}, []
    return check_mode or delete_dashboard(client, params["name"]), before, {}, []


def ensure_present(client: Any, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Return changed, before, after and warnings."""
    name = params["name"]
    before = view(get_dashboard(client, name))
    if not before and params["body"] is None:
        raise AnsibleDashboardError(message=f"Dashboard {name} cannot be created without a body")
    body = meaning(params["body"]) if params["body"] is not None else before["body"]
    old_tags = before.get("tags", {})
    tags = params["tags"] if params["tags"] is not None else old_tags
    set_tags, remove_keys = compare_aws_tags(old_tags, tags, params["purge_tags"] and params["tags"] is not None)
    new_body = body != before.get("body")
    if not new_body and not set_tags and not remove_keys:
        return False, before, before, []
    kept = {key: value for key, value in old_tags.items() if key not in remove_keys}
    after = {**before, "name": name, "body": body, "tags": kept | set_tags}
    told: list[str] = []
    if not check_mode:
        # Tags count when a dashboard is made; those of one that exists are changed by themselves.
        if new_body:
            told = put_dashboard(client, name, body, {} if before else set_tags)
        if before:
            tag_dashboard(client, before["arn"], set_tags, remove_keys)
    return True, before, after, told


def main() -> None:
    """Read the options, make it so, report."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "body": {"type": "raw"},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    problem = body_problem(module.params["body"]) if module.params["body"] is not None else None
    if problem:
        module.fail_json(msg=problem)
    client = module.client("cloudwatch", retry_decorator=AWSRetry.jittered_backoff())
    ensure = ensure_present if module.params["state"] == "present" else ensure_absent
    try:
        changed, before, after, told = ensure(client, module.params, module.check_mode)
    except AnsibleDashboardError as error:
        module.fail_json_aws_error(error)
    for message in told:
        module.warn(f"CloudWatch does not show all of dashboard {module.params['name']}: {message}")
    result: dict[str, Any] = {"changed": changed, "dashboard": after}
    if changed:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
