"""Schedules and their groups: what counts as a change, and whose a schedule is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.resources import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.scheduling import GROUP, SCHEDULE, _schedule

GROUP_NAME = "algo-trading-trading-server-shutdown-qa"
TARGET = {"arn": "arn:function", "role_arn": "arn:role", "input": {"action": "stop"}}
DESCRIBED: dict[str, Any] = {
    "Arn": f"arn:aws:scheduler:us-east-1:123456789012:schedule/{GROUP_NAME}/shutdown",
    "Name": "shutdown",
    "GroupName": GROUP_NAME,
    "ScheduleExpression": "cron(10 16 ? * MON-FRI *)",
    "ScheduleExpressionTimezone": "America/New_York",
    "State": "ENABLED",
    "FlexibleTimeWindow": {"Mode": "OFF"},
    "CreationDate": datetime(2026, 1, 2, tzinfo=UTC),
    "Target": {"Arn": "arn:function", "RoleArn": "arn:role", "Input": '{"action":   "stop"}'},
}
WANTED: dict[str, Any] = {
    "name": "shutdown",
    "group_name": GROUP_NAME,
    "enabled": True,
    "description": "",
    "schedule_expression": "cron(10 16 ? * MON-FRI *)",
    "schedule_expression_timezone": "America/New_York",
    "flexible_time_window": {"mode": "OFF"},
    "target": TARGET,
}


def there(**described: Any) -> dict[str, Any]:
    return _schedule(GROUP_NAME, {**DESCRIBED, **described}, ours=True).as_dict(ours=True)


def test_what_aws_fills_in_is_no_difference() -> None:
    assert decide(SCHEDULE, WANTED, there()).action == "no-op"
    empty = {**TARGET, "dead_letter_config": {}}
    assert decide(SCHEDULE, {**WANTED, "target": empty}, there()).action == "no-op"


def test_a_difference_names_what_differs() -> None:
    decision = decide(SCHEDULE, WANTED, there(ScheduleExpressionTimezone="UTC", State="DISABLED"))
    assert decision.action == "update"
    assert decision.reasons == (
        "enabled: false → true",
        "schedule_expression_timezone: UTC → America/New_York",
    )
    other = {**DESCRIBED["Target"], "Input": '{"action": "start"}'}
    assert decide(SCHEDULE, WANTED, there(Target=other)).reasons == (
        'target.input: {"action": "start"} → {"action": "stop"}',
    )


def test_a_schedule_is_its_group_s_and_nobody_else_s() -> None:
    assert _schedule(GROUP_NAME, DESCRIBED, ours=True).owner == GROUP_NAME
    assert _schedule(GROUP_NAME, DESCRIBED, ours=False).owner == ""


def test_a_schedule_goes_before_its_group_and_by_its_two_names() -> None:
    assert SCHEDULE.destroy_order < GROUP.destroy_order
    assert SCHEDULE.delete_arguments(there()) == {"name": "shutdown", "group_name": GROUP_NAME}
