#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: scheduler_schedule_group
version_added: 0.1.0
short_description: Manage a schedule group of Amazon EventBridge Scheduler
description:
  - Creates, tags and deletes a schedule group of Amazon EventBridge Scheduler.
  - Schedules themselves can't be tagged, their group can. Deleting a group deletes all schedules in it.
author:
  - The algo.trading authors (@algo-trading)
options:
  name:
    description: Name of the group. The group V(default) belongs to AWS and can neither be tagged nor deleted.
    type: str
    required: true
  state:
    description: Whether the group should exist.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Whether to wait until the group is active, or gone.
      - A group of the same name can't be made before it is gone.
    type: bool
    default: true
  wait_timeout:
    description: For how many seconds to wait.
    type: int
    default: 300
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags.modules
  - amazon.aws.boto3
seealso:
  - module: algo.trading.scheduler_schedule
"""

EXAMPLES = r"""
- name: Make a group for the schedules of a component
  algo.trading.scheduler_schedule_group:
    name: algo-trading-trading-server-shutdown-qa
    tags:
      Project: algo-trading
      Environment: qa

- name: Remove a group and every schedule in it
  algo.trading.scheduler_schedule_group:
    name: algo-trading-trading-server-shutdown-qa
    state: absent
"""

RETURN = r"""
schedule_group:
  description: The group, in check mode as it would be. Empty where there is none.
  returned: always
  type: dict
  contains:
    arn:
      description: ARN of the group. Missing in check mode for a group that does not exist yet.
      returned: when the group exists
      type: str
      sample: arn:aws:scheduler:us-east-1:123456789012:schedule-group/algo-trading-trading-server-shutdown-qa
    creation_date:
      description: When the group was created, in ISO 8601.
      returned: when the group exists
      type: str
      sample: '2025-06-02T14:00:00+00:00'
    last_modification_date:
      description: When the group was last changed, in ISO 8601.
      returned: when the group exists
      type: str
      sample: '2025-06-02T14:00:00+00:00'
    name:
      description: Name of the group.
      returned: when the group exists
      type: str
      sample: algo-trading-trading-server-shutdown-qa
    state:
      description: V(ACTIVE) or V(DELETING).
      returned: when the group exists
      type: str
      sample: ACTIVE
    tags:
      description: Tags of the group.
      returned: when the group exists
      type: dict
      sample: {Environment: qa, Project: algo-trading}
"""

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.scheduler import NAME_PATTERN, AnsibleSchedulerError
from ansible_collections.algo.trading.plugins.module_utils.scheduler_group import (
    create_group,
    delete_group,
    get_group,
    group_view,
    tag_group,
    wait_for_group,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import compare_aws_tags

Outcome = tuple[bool, dict[str, Any], dict[str, Any]]


def ensure_absent(client: Any, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Return changed, before and after."""
    name = params["name"]
    group = get_group(client, name)
    if group is None:
        return False, {}, {}
    going = group.get("State") == "DELETING"
    if not check_mode:
        if not going:
            delete_group(client, name)
        if params["wait"]:
            wait_for_group(client, name, gone=True, timeout=params["wait_timeout"])
    return not going, group_view(group), {}


def ensure_present(client: Any, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Return changed, before and after."""
    name = params["name"]
    group = get_group(client, name)
    if group is not None and group.get("State") == "DELETING":
        # It is as good as gone, but its name is free only afterwards.
        if not check_mode:
            wait_for_group(client, name, gone=True, timeout=params["wait_timeout"])
        group = None
    before = group_view(group)
    current_tags = before.get("tags", {})
    tags = params["tags"] if params["tags"] is not None else current_tags
    set_tags, remove_keys = compare_aws_tags(current_tags, tags, params["purge_tags"] and params["tags"] is not None)
    if group is not None and not set_tags and not remove_keys:
        return False, before, before
    kept = {key: value for key, value in current_tags.items() if key not in remove_keys}
    if check_mode:
        return True, before, {"name": name, "state": "ACTIVE", **before, "tags": kept | set_tags}
    if group is None:
        create_group(client, name, set_tags)
        if params["wait"]:
            wait_for_group(client, name, gone=False, timeout=params["wait_timeout"])
    else:
        tag_group(client, group["Arn"], set_tags, remove_keys)
    return True, before, group_view(get_group(client, name))


def main() -> None:
    """Read the options, make it so, report."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    params = module.params
    if not NAME_PATTERN.match(params["name"]):
        module.fail_json(msg=f"name {params['name']!r} must be 1 to 64 letters, digits, hyphens, underscores and dots")
    if params["name"] == "default" and (params["state"] == "absent" or params["tags"]):
        module.fail_json(msg="The group 'default' belongs to AWS and cannot be tagged or deleted")

    client = module.client("scheduler", retry_decorator=AWSRetry.jittered_backoff())
    ensure = ensure_present if params["state"] == "present" else ensure_absent
    try:
        changed, before, after = ensure(client, params, module.check_mode)
    except AnsibleSchedulerError as error:
        module.fail_json_aws_error(error)

    result: dict[str, Any] = {"changed": changed, "schedule_group": after}
    if changed:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
