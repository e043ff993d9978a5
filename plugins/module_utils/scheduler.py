# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Amazon EventBridge Scheduler: the desired schedule, and one function per API call.

A schedule is handled in *request form* throughout: the dict that UpdateSchedule takes. That API replaces the whole
schedule and resets what it isn't given, so the request is always built from the existing schedule and the options.
"""

from __future__ import annotations

import contextlib
import copy
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

with contextlib.suppress(ImportError):  # The modules report a missing SDK themselves.
    from botocore import xform_name

from ansible_collections.algo.trading.plugins.module_utils._aws import Api, meaning
from ansible_collections.algo.trading.plugins.module_utils._schedules import PLAIN_FIELDS, request_form
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError

NAME_PATTERN = re.compile(r"^[0-9a-zA-Z_.-]{1,64}$")

_EXPRESSION = re.compile(
    r"""^(?:
        cron\(\s*(?:\S+\s+){5}\S+\s*\)
        | rate\(\s*[1-9]\d*\s+(?:minute|hour|day)s?\s*\)
        | at\(\s*\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\s*\)
    )$""",
    re.VERBOSE,
)
_ROLE_NOT_READY = "must allow AWS EventBridge Scheduler to assume the role"


# --- deciding -------------------------------------------------------------------------------------------------------


def option_problem(options: dict[str, Any]) -> str | None:
    """What is wrong with the options, found before anything is called and so in check mode as well."""
    for option in ("name", "group_name"):
        if not NAME_PATTERN.match(options[option]):
            return f"{option} {options[option]!r} must be 1 to 64 letters, digits, hyphens, underscores and dots"
    window = options["flexible_time_window"]
    if window and (window["mode"] == "FLEXIBLE") != (window["maximum_window_in_minutes"] is not None):
        return "flexible_time_window needs maximum_window_in_minutes with mode FLEXIBLE, and only then"
    for option in ("start_date", "end_date"):
        try:
            parse_date(options[option] or "2000-01-01")
        except ValueError as error:
            return f"{option} {options[option]!r} is not a valid ISO 8601 time: {error}"
    expression = options["schedule_expression"]
    return expression_problem(expression) if expression is not None else None


def missing_for_creation(request: dict[str, Any]) -> list[str]:
    """Options without which no schedule can be made."""
    required = {
        "schedule_expression": request.get("ScheduleExpression"),
        "target.arn": request["Target"].get("Arn"),
        "target.role_arn": request["Target"].get("RoleArn"),
    }
    return [option for option, value in required.items() if not value]


def expression_problem(expression: str) -> str | None:
    """What is wrong with a schedule expression."""
    if _EXPRESSION.match(expression):
        return None
    return (
        f"schedule_expression {expression!r} is not valid; use cron(minutes hours day-of-month month day-of-week "
        "year), rate(value minutes|hours|days) or at(yyyy-mm-ddThh:mm:ss)"
    )


def parse_date(value: str) -> datetime:
    """An ISO 8601 time with whole seconds, as the API keeps it; UTC if it carries no offset."""
    parsed = datetime.fromisoformat(value)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).replace(microsecond=0)


def to_api(shape: Any, value: Any, where: str = "target") -> Any:
    """Turn snake_case options into the API's own spelling, which mixes cases, by asking botocore's model for it."""
    if shape.type_name == "structure" and isinstance(value, dict):
        members = {xform_name(member): member for member in shape.members}
        unknown = sorted(set(value) - set(members))
        if unknown:
            raise AnsibleAWSError(
                message=f"{', '.join(unknown)} is not valid in {where}; valid are {', '.join(members)}"
            )
        return {
            members[key]: to_api(shape.members[members[key]], item, f"{where}.{key}")
            for key, item in value.items()
            if item is not None
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [to_api(shape.member, item, where) for item in value]
    return value


def desired_schedule(current: dict[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    """Lay the given options over what exists. None leaves a field alone, an empty string clears it."""
    wanted = copy.deepcopy(current) if current else {"Name": options["name"], "GroupName": options["group_name"]}
    for option, field in PLAIN_FIELDS.items():
        value = options.get(option)
        if value == "":
            wanted.pop(field, None)
        elif value is not None:
            wanted[field] = parse_date(value) if option in ("start_date", "end_date") else value
    if options.get("enabled") is not None:
        wanted["State"] = "ENABLED" if options["enabled"] else "DISABLED"
    window = options.get("flexible_time_window")
    if window is not None:
        wanted["FlexibleTimeWindow"] = {"Mode": window["mode"]}
        if window.get("maximum_window_in_minutes") is not None:
            wanted["FlexibleTimeWindow"]["MaximumWindowInMinutes"] = window["maximum_window_in_minutes"]
    if options.get("target") is not None:
        wanted["Target"] = _desired_target((current or {}).get("Target") or {}, options["target"])
    return request_form(wanted)


def _desired_target(current: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    # Another ARN is another target: parameters of the old one (of a queue, say) make no sense for it.
    kept = copy.deepcopy(current) if given.get("Arn", current.get("Arn")) == current.get("Arn") else {}
    for key, value in given.items():
        if value in ("", {}):
            kept.pop(key, None)
        elif key == "RetryPolicy":
            kept[key] = {**kept.get(key, {}), **value}
        else:
            kept[key] = value
    return kept


def same_schedule(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Equal in meaning: the target's input is compared as JSON where it is JSON."""
    return _comparable(one) == _comparable(other)


def _comparable(request: dict[str, Any] | None) -> dict[str, Any] | None:
    if request is None:
        return None
    comparable = copy.deepcopy(request)
    with contextlib.suppress(KeyError):
        comparable["Target"]["Input"] = meaning(comparable["Target"]["Input"])
    return comparable


# --- calling --------------------------------------------------------------------------------------------------------


def create_schedule(api: Api, request: dict[str, Any], role_timeout: float) -> str:
    """Create a schedule and return its ARN; its role may be so new that the service can't assume it yet."""
    doing = f"create schedule {request['GroupName']}/{request['Name']}"
    answer = _once_role_is_ready(lambda: api.call("create_schedule", doing, **request), role_timeout)
    return str(answer["ScheduleArn"])


def update_schedule(api: Api, request: dict[str, Any], role_timeout: float) -> None:
    """Replace a schedule by this request, which must be complete."""
    doing = f"update schedule {request['GroupName']}/{request['Name']}"
    _once_role_is_ready(lambda: api.call("update_schedule", doing, **request), role_timeout)


def delete_schedule(api: Api, name: str, group_name: str) -> bool:
    """Delete a schedule; False if it no longer exists."""
    doing = f"delete schedule {group_name}/{name}"
    return api.delete("delete_schedule", doing, Name=name, GroupName=group_name)


def _once_role_is_ready(call: Callable[[], dict[str, Any]], timeout: float) -> dict[str, Any]:
    for patient in patience(timeout):
        try:
            return call()
        except AnsibleAWSError as error:
            if not patient or _ROLE_NOT_READY not in str(error.exception):
                raise
    return {}


def patience(timeout: float, longest_pause: float = 5.0) -> Iterator[bool]:
    """True for as long as another try is worth it, with growing pauses in between; at last one False."""
    deadline = time.monotonic() + timeout
    pause = 0.5
    while time.monotonic() + pause < deadline:
        yield True
        time.sleep(pause)
        pause = min(pause * 2, longest_pause)
    yield False
