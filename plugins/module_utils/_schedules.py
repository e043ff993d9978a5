# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A schedule of EventBridge Scheduler: reading it, the request that makes it, and what users see of it."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict

from ._aws import Api

MISSING = ("ResourceNotFoundException",)
# option -> field of the request, for everything that is copied as it is
PLAIN_FIELDS = {
    "action_after_completion": "ActionAfterCompletion",
    "description": "Description",
    "end_date": "EndDate",
    "kms_key_arn": "KmsKeyArn",
    "schedule_expression": "ScheduleExpression",
    "schedule_expression_timezone": "ScheduleExpressionTimezone",
    "start_date": "StartDate",
}
_REQUEST_FIELDS = {*PLAIN_FIELDS.values(), "FlexibleTimeWindow", "GroupName", "Name", "State", "Target"}


def find_schedule(api: Api, name: str, group_name: str) -> dict[str, Any] | None:
    """The schedule as AWS describes it, None where it (or its group) does not exist."""
    return api.find("get_schedule", f"read schedule {group_name}/{name}", Name=name, GroupName=group_name)


def request_form(described: dict[str, Any]) -> dict[str, Any]:
    """What UpdateSchedule must be sent to leave this schedule as it is, defaults filled in."""
    request = {key: copy.deepcopy(value) for key, value in described.items() if key in _REQUEST_FIELDS and value}
    request.setdefault("ActionAfterCompletion", "NONE")
    request.setdefault("FlexibleTimeWindow", {"Mode": "OFF"})
    request.setdefault("GroupName", "default")
    request.setdefault("ScheduleExpressionTimezone", "UTC")
    request.setdefault("State", "ENABLED")
    target = request.setdefault("Target", {})
    target["RetryPolicy"] = {
        "MaximumEventAgeInSeconds": 86400,
        "MaximumRetryAttempts": 185,
        **(target.get("RetryPolicy") or {}),
    }
    return request


def schedule_view(request: dict[str, Any] | None) -> dict[str, Any]:
    """The snake_case form that users see, in results and in diffs."""
    view: dict[str, Any] = camel_dict_to_snake_dict(
        {
            key: value.isoformat() if isinstance(value, datetime) else value
            for key, value in (request or {}).items()
            if value is not None and key != "ResponseMetadata"
        }
    )
    return view
