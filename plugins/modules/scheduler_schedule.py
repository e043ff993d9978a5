#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: scheduler_schedule
version_added: 0.1.0
short_description: Manage a schedule of Amazon EventBridge Scheduler
description:
  - Creates, updates and deletes a schedule of Amazon EventBridge Scheduler, which unlike the rules of EventBridge
    knows time zones.
  - The API replaces a schedule as a whole. This module reads what exists first, so that options which are left out
    keep their values.
  - In check mode only C(GetSchedule) is called. Neither the group, nor the role, nor the target need exist then.
author:
  - The algo.trading authors (@algo-trading)
options:
  name:
    description: Name of the schedule, unique within its group.
    type: str
    required: true
  group_name:
    description:
      - The schedule group. It must exist when the schedule is created, see M(algo.trading.scheduler_schedule_group).
    type: str
    default: default
  state:
    description: Whether the schedule should exist.
    type: str
    choices: [present, absent]
    default: present
  enabled:
    description:
      - Whether the schedule fires.
      - A new schedule is enabled.
    type: bool
  schedule_expression:
    description:
      - When the target is invoked, as V(cron(minutes hours day-of-month month day-of-week year\)), V(rate(value unit\))
        or V(at(yyyy-mm-ddThh:mm:ss\)).
      - Required to create a schedule.
    type: str
    aliases: [expression]
  schedule_expression_timezone:
    description:
      - Time zone in which C(cron) and C(at) expressions are read. A new schedule uses V(UTC).
      - A time which does not exist on the day that summer time begins is skipped, one that comes twice is invoked once.
    type: str
    aliases: [timezone]
  flexible_time_window:
    description:
      - A window after the scheduled time in which the target may be invoked. A new schedule has none.
    type: dict
    suboptions:
      mode:
        description: V(OFF) for the scheduled time itself.
        type: str
        choices: ['OFF', FLEXIBLE]
        required: true
      maximum_window_in_minutes:
        description: Length of the window, required with O(flexible_time_window.mode=FLEXIBLE).
        type: int
  target:
    description:
      - What is invoked. Required to create a schedule.
      - Keys that are left out keep their values as long as O(target.arn) stays the same; an empty value clears a key.
    type: dict
    suboptions:
      arn:
        description: ARN of the target, for instance of a Lambda function.
        type: str
      role_arn:
        description: ARN of the role that EventBridge Scheduler assumes to invoke the target.
        type: str
      input:
        description:
          - Text or JSON that is passed to the target. A dictionary becomes JSON, and JSON is compared by its meaning.
        type: json
      retry_policy:
        description: What happens when the target can't be invoked.
        type: dict
        suboptions:
          maximum_event_age_in_seconds:
            description: For how long an invocation is retried, from 60 to 86400. A new schedule uses V(86400).
            type: int
          maximum_retry_attempts:
            description: How many times an invocation is retried, from 0 to 185. A new schedule uses V(185).
            type: int
      dead_letter_config:
        description: Where invocations go that failed in spite of retries. An empty dictionary removes it.
        type: dict
        suboptions:
          arn:
            description: ARN of an Amazon SQS queue.
            type: str
      ecs_parameters:
        description: Parameters for an Amazon ECS task, structured as in the API but with names in snake case.
        type: dict
      event_bridge_parameters:
        description: C(detail_type) and C(source) of the event, where the target is an event bus.
        type: dict
      kinesis_parameters:
        description: The C(partition_key), where the target is an Amazon Kinesis stream.
        type: dict
      sage_maker_pipeline_parameters:
        description: Parameters for an Amazon SageMaker pipeline, structured as in the API but with names in snake case.
        type: dict
      sqs_parameters:
        description: The C(message_group_id), where the target is a FIFO queue.
        type: dict
  description:
    description: Description of the schedule. An empty string removes it.
    type: str
  start_date:
    description:
      - Time in ISO 8601 before which the schedule does not fire, in UTC if it has no offset.
      - An empty string removes it.
    type: str
  end_date:
    description:
      - Time in ISO 8601 after which the schedule does not fire, in UTC if it has no offset.
      - An empty string removes it.
    type: str
  action_after_completion:
    description: Whether AWS deletes the schedule after its last invocation. A new schedule uses V(NONE).
    type: str
    choices: [NONE, DELETE]
  kms_key_arn:
    description: ARN of a customer managed key that encrypts the schedule. An empty string goes back to AWS's own key.
    type: str
  role_timeout:
    description:
      - For how many seconds to wait for a role that was created a moment ago.
      - EventBridge Scheduler can't assume such a role at once.
    type: int
    default: 60
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: algo.trading.scheduler_schedule_group
"""

EXAMPLES = r"""
- name: Stop the trading servers after the close, whatever summer time does
  algo.trading.scheduler_schedule:
    name: shutdown
    group_name: algo-trading-trading-server-shutdown-qa
    schedule_expression: cron(15 16 ? * MON-FRI *)
    schedule_expression_timezone: America/New_York
    target:
      arn: arn:aws:lambda:us-east-1:123456789012:function:algo-trading-trading-server-shutdown-qa
      role_arn: arn:aws:iam::123456789012:role/algo-trading-trading-server-shutdown-qa-scheduler
      input:
        action: stop
      retry_policy:
        maximum_event_age_in_seconds: 900
        maximum_retry_attempts: 3
      dead_letter_config:
        arn: arn:aws:sqs:us-east-1:123456789012:algo-trading-trading-server-shutdown-qa

- name: Pause a schedule and leave everything else as it is
  algo.trading.scheduler_schedule:
    name: shutdown
    group_name: algo-trading-trading-server-shutdown-qa
    enabled: false

- name: Do something once, then forget it
  algo.trading.scheduler_schedule:
    name: extra-session
    schedule_expression: at(2030-01-02T09:00:00)
    schedule_expression_timezone: America/New_York
    action_after_completion: DELETE
    target:
      arn: arn:aws:lambda:us-east-1:123456789012:function:algo-trading-trading-server-qa
      role_arn: arn:aws:iam::123456789012:role/algo-trading-trading-server-qa-scheduler

- name: Remove a schedule
  algo.trading.scheduler_schedule:
    name: extra-session
    state: absent
"""

RETURN = r"""
schedule:
  description:
    - The schedule, in check mode as it would be. Empty where there is none.
  returned: always
  type: dict
  contains:
    action_after_completion:
      description: What happens after the last invocation.
      returned: when the schedule exists
      type: str
      sample: NONE
    arn:
      description: ARN of the schedule. Missing in check mode for a schedule that does not exist yet.
      returned: when the schedule exists
      type: str
      sample: arn:aws:scheduler:us-east-1:123456789012:schedule/algo-trading-trading-server-shutdown-qa/shutdown
    creation_date:
      description: When the schedule was created, in ISO 8601.
      returned: when the schedule existed before
      type: str
      sample: '2025-06-02T14:00:00+00:00'
    description:
      description: Description of the schedule.
      returned: when it has one
      type: str
      sample: Graceful shutdown after the close
    end_date:
      description: When the schedule ends, in ISO 8601.
      returned: when it has one
      type: str
      sample: '2030-01-01T00:00:00+00:00'
    flexible_time_window:
      description: The window in which the target may be invoked.
      returned: when the schedule exists
      type: dict
      sample: {mode: 'OFF'}
    group_name:
      description: Name of the schedule group.
      returned: when the schedule exists
      type: str
      sample: algo-trading-trading-server-shutdown-qa
    kms_key_arn:
      description: The customer managed key.
      returned: when it has one
      type: str
      sample: arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012
    last_modification_date:
      description: When the schedule was last changed, in ISO 8601.
      returned: when the schedule existed before
      type: str
      sample: '2025-06-02T14:00:00+00:00'
    name:
      description: Name of the schedule.
      returned: when the schedule exists
      type: str
      sample: shutdown
    schedule_expression:
      description: When the target is invoked.
      returned: when the schedule exists
      type: str
      sample: cron(15 16 ? * MON-FRI *)
    schedule_expression_timezone:
      description: Time zone of the expression.
      returned: when the schedule exists
      type: str
      sample: America/New_York
    start_date:
      description: When the schedule begins, in ISO 8601.
      returned: when it has one
      type: str
      sample: '2025-06-02T00:00:00+00:00'
    state:
      description: Whether the schedule fires, V(ENABLED) or V(DISABLED).
      returned: when the schedule exists
      type: str
      sample: ENABLED
    target:
      description: What is invoked, with the keys of O(target).
      returned: when the schedule exists
      type: dict
      sample:
        arn: arn:aws:lambda:us-east-1:123456789012:function:algo-trading-trading-server-shutdown-qa
        input: '{"action": "stop"}'
        retry_policy: {maximum_event_age_in_seconds: 900, maximum_retry_attempts: 3}
        role_arn: arn:aws:iam::123456789012:role/algo-trading-trading-server-shutdown-qa-scheduler
"""

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import Api
from ansible_collections.algo.trading.plugins.module_utils._schedules import (
    MISSING,
    find_schedule,
    request_form,
    schedule_view,
)
from ansible_collections.algo.trading.plugins.module_utils.aws_module import Outcome, run_module
from ansible_collections.algo.trading.plugins.module_utils.scheduler import (
    create_schedule,
    delete_schedule,
    desired_schedule,
    missing_for_creation,
    option_problem,
    same_schedule,
    to_api,
    update_schedule,
)
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError


def ensure_absent(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    described = find_schedule(api, params["name"], params["group_name"])
    if described is None:
        return Outcome(False, {}, {})
    changed = check_mode or delete_schedule(api, params["name"], params["group_name"])
    return Outcome(changed, schedule_view(described), {})


def ensure_present(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    described = find_schedule(api, params["name"], params["group_name"])
    current = request_form(described) if described else None
    if params["target"] is not None:
        params = {**params, "target": to_api(api.client.meta.service_model.shape_for("Target"), params["target"])}
    wanted = desired_schedule(current, params)
    missing = missing_for_creation(wanted)
    if missing:
        raise AnsibleAWSError(
            message=f"Schedule {params['group_name']}/{params['name']} cannot be created without {', '.join(missing)}"
        )
    before = schedule_view(described)
    if same_schedule(current, wanted):
        return Outcome(False, before, before)
    # Whatever the request does not speak of (ARN, dates of creation and change) stays as it was described.
    planned = {key: value for key, value in before.items() if key in ("arn", "creation_date")} | schedule_view(wanted)
    if check_mode:
        return Outcome(True, before, planned)
    if not current:
        # It is as it was asked for. Asking for its dates would cost each schedule a call.
        return Outcome(True, before, {**planned, "arn": create_schedule(api, wanted, params["role_timeout"])})
    update_schedule(api, wanted, params["role_timeout"])
    return Outcome(True, before, schedule_view(find_schedule(api, params["name"], params["group_name"])) or planned)


def main() -> None:
    target_options = {
        "arn": {"type": "str"},
        "role_arn": {"type": "str"},
        "input": {"type": "json"},
        "retry_policy": {
            "type": "dict",
            "options": {
                "maximum_event_age_in_seconds": {"type": "int"},
                "maximum_retry_attempts": {"type": "int"},
            },
        },
        "dead_letter_config": {"type": "dict", "options": {"arn": {"type": "str"}}},
        "ecs_parameters": {"type": "dict"},
        "event_bridge_parameters": {"type": "dict"},
        "kinesis_parameters": {"type": "dict"},
        "sage_maker_pipeline_parameters": {"type": "dict"},
        "sqs_parameters": {"type": "dict"},
    }
    window_options = {
        "mode": {"type": "str", "choices": ["OFF", "FLEXIBLE"], "required": True},
        "maximum_window_in_minutes": {"type": "int"},
    }
    run_module(
        service="scheduler",
        missing=MISSING,
        result="schedule",
        options={
            "group_name": {"type": "str", "default": "default"},
            "enabled": {"type": "bool"},
            "schedule_expression": {"type": "str", "aliases": ["expression"]},
            "schedule_expression_timezone": {"type": "str", "aliases": ["timezone"]},
            "flexible_time_window": {"type": "dict", "options": window_options},
            "target": {"type": "dict", "options": target_options},
            "description": {"type": "str"},
            "start_date": {"type": "str"},
            "end_date": {"type": "str"},
            "action_after_completion": {"type": "str", "choices": ["NONE", "DELETE"]},
            "kms_key_arn": {"type": "str", "no_log": False},
            "role_timeout": {"type": "int", "default": 60},
        },
        problem=option_problem,
        present=ensure_present,
        absent=ensure_absent,
    )


if __name__ == "__main__":
    main()
