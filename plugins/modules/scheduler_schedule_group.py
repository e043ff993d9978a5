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

from ansible_collections.algo.trading.plugins.module_utils._aws import Api
from ansible_collections.algo.trading.plugins.module_utils._schedules import MISSING
from ansible_collections.algo.trading.plugins.module_utils.aws_module import (
    TAG_OPTIONS,
    Outcome,
    change_tags,
    run_module,
    tag_change,
)
from ansible_collections.algo.trading.plugins.module_utils.scheduler import NAME_PATTERN
from ansible_collections.algo.trading.plugins.module_utils.scheduler_group import (
    create_group,
    delete_group,
    get_group,
    group_view,
    wait_for_group,
)


def option_problem(params: dict[str, Any]) -> str | None:
    name = params["name"]
    if not NAME_PATTERN.match(name):
        return f"name {name!r} must be 1 to 64 letters, digits, hyphens, underscores and dots"
    if name == "default" and (params["state"] == "absent" or params["tags"]):
        return "The group 'default' belongs to AWS and cannot be tagged or deleted"
    return None


def ensure_absent(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    name = params["name"]
    group = get_group(api, name)
    if group is None:
        return Outcome(False, {}, {})
    going = group.get("State") == "DELETING"
    if not check_mode:
        if not going:
            delete_group(api, name)
        if params["wait"]:
            wait_for_group(api, name, gone=True, timeout=params["wait_timeout"])
    return Outcome(not going, group_view(group), {})


def ensure_present(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    name = params["name"]
    group = get_group(api, name)
    if group is not None and group.get("State") == "DELETING":
        # It is as good as gone, but its name is free only afterwards.
        if not check_mode:
            wait_for_group(api, name, gone=True, timeout=params["wait_timeout"])
        group = None
    before = group_view(group)
    tags = tag_change(before.get("tags", {}), params)
    if group is not None and not tags.changed:
        return Outcome(False, before, before)
    if check_mode:
        return Outcome(True, before, {"name": name, "state": "ACTIVE", **before, "tags": tags.after})
    if group is None:
        create_group(api, name, tags.to_set)
        if params["wait"]:
            wait_for_group(api, name, gone=False, timeout=params["wait_timeout"])
    else:
        change_tags(api, group["Arn"], tags, ResourceArn=group["Arn"])
    return Outcome(True, before, group_view(get_group(api, name)))


def main() -> None:
    run_module(
        service="scheduler",
        missing=MISSING,
        result="schedule_group",
        options={
            **TAG_OPTIONS,
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 300},
        },
        problem=option_problem,
        present=ensure_present,
        absent=ensure_absent,
    )


if __name__ == "__main__":
    main()
