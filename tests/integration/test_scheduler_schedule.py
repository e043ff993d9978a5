"""Schedules and their groups against the embedded AWS: plan, make, repeat, change, remove."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws, Tasks

ACCOUNT = "123456789012"
GROUP = "algo-trading-trading-server-shutdown-qa"
LAMBDA = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{GROUP}"
SCHEDULE: dict[str, Any] = {
    "name": "shutdown",
    "group_name": GROUP,
    "schedule_expression": "cron(15 16 ? * MON-FRI *)",
    "schedule_expression_timezone": "America/New_York",
    "description": "Graceful shutdown",
    "flexible_time_window": {"mode": "FLEXIBLE", "maximum_window_in_minutes": 5},
    "start_date": "2030-01-01T00:00:00Z",
    "target": {
        "arn": LAMBDA,
        "role_arn": f"arn:aws:iam::{ACCOUNT}:role/{GROUP}-scheduler",
        "input": {"action": "stop"},
        "retry_policy": {"maximum_event_age_in_seconds": 900, "maximum_retry_attempts": 3},
        "dead_letter_config": {"arn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{GROUP}"},
    },
}
TAGS = {"Project": "algo-trading", "Environment": "qa"}


def schedule(**given: Any) -> dict[str, Any]:
    return {"algo.trading.scheduler_schedule": {"name": "shutdown", "group_name": GROUP, **given}}


def group(**given: Any) -> dict[str, Any]:
    return {"algo.trading.scheduler_schedule_group": {"name": GROUP, **given}}


def test_a_schedule_lives_from_plan_to_removal(fresh_aws: Aws, tasks: Tasks) -> None:
    # An empty account: the plan needs neither group nor role nor target, and writes nothing.
    planned_group, planned = tasks(group(tags=TAGS), schedule(**SCHEDULE), check=True, diff=True)
    assert planned_group["changed"]
    assert planned["changed"]
    assert planned["diff"]["before"] == {}
    assert planned["diff"]["after"]["target"]["retry_policy"]["maximum_retry_attempts"] == 3
    assert fresh_aws.calls(write=True) == []

    made_group, made, again_group, again = tasks(
        group(tags=TAGS), schedule(**SCHEDULE), group(tags=TAGS), schedule(**SCHEDULE)
    )
    assert made_group["changed"]
    assert made_group["schedule_group"]["tags"] == TAGS
    assert made["changed"]
    assert {key: made["schedule"][key] for key in planned["schedule"]} == planned["schedule"]
    assert made["schedule"]["arn"].endswith(f":schedule/{GROUP}/shutdown")
    assert not again_group["changed"]
    assert not again["changed"]
    assert fresh_aws.count(write=True, service="scheduler") == {
        "scheduler:CreateScheduleGroup": 1,
        "scheduler:CreateSchedule": 1,
    }
    real = fresh_aws.client("scheduler").get_schedule(GroupName=GROUP, Name="shutdown")
    assert real["ScheduleExpressionTimezone"] == "America/New_York"
    assert json.loads(real["Target"]["Input"]) == {"action": "stop"}

    planned, paused, cleared, back = tasks(
        {**schedule(enabled=False), "check_mode": True},
        schedule(enabled=False),
        schedule(description="", start_date="", target={"dead_letter_config": {}}),
        schedule(**SCHEDULE, enabled=True),
        diff=True,
    )
    assert (planned["schedule"]["state"], paused["schedule"]["state"]) == ("DISABLED", "DISABLED")
    assert {key for key, was in paused["diff"]["before"].items() if paused["diff"]["after"].get(key) != was} <= {
        "state",
        "last_modification_date",
    }
    assert paused["schedule"]["target"] == made["schedule"]["target"]
    assert not {"description", "start_date"} & set(cleared["schedule"])
    assert "dead_letter_config" not in cleared["schedule"]["target"]
    same = set(made["schedule"]) - {"last_modification_date"}
    assert {key: back["schedule"][key] for key in same} == {key: made["schedule"][key] for key in same}

    fresh_aws.forget_calls()
    planned, removed, gone = tasks(
        {**schedule(state="absent"), "check_mode": True}, schedule(state="absent"), schedule(state="absent")
    )
    assert [planned["changed"], removed["changed"], gone["changed"]] == [True, True, False]
    assert gone["schedule"] == {}
    assert fresh_aws.count(write=True, service="scheduler") == {"scheduler:DeleteSchedule": 1}


def test_a_group_is_retagged_and_takes_its_schedules_along(fresh_aws: Aws, tasks: Tasks) -> None:
    _made, _schedule, more, purged, unasked, planned, removed, gone = tasks(
        group(tags=TAGS),
        schedule(**SCHEDULE),
        group(tags={"Component": "x"}, purge_tags=False),
        group(tags={"Environment": "qa"}),
        group(),
        {**group(state="absent"), "check_mode": True},
        group(state="absent"),
        group(state="absent"),
    )
    assert more["schedule_group"]["tags"] == {**TAGS, "Component": "x"}
    assert purged["schedule_group"]["tags"] == {"Environment": "qa"}
    assert not unasked["changed"]
    assert [planned["changed"], removed["changed"], gone["changed"]] == [True, True, False]
    assert fresh_aws.client("scheduler").list_schedules()["Schedules"] == []


def test_mistakes_are_told_before_anything_is_called(fresh_aws: Aws, tasks: Tasks) -> None:
    bad_expression, no_target, bad_target, default_group = tasks(
        schedule(schedule_expression="0 9 * * *"),
        schedule(schedule_expression="rate(1 day)"),
        schedule(**{**SCHEDULE, "target": {**SCHEDULE["target"], "sqs_parameters": {"group": "x"}}}),
        {"algo.trading.scheduler_schedule_group": {"name": "default", "state": "absent"}},
    )
    assert "is not valid; use cron(" in bad_expression["msg"]
    assert "cannot be created without target.arn, target.role_arn" in no_target["msg"]
    assert "group is not valid in target.sqs_parameters" in bad_target["msg"]
    assert "belongs to AWS" in default_group["msg"]
    assert fresh_aws.calls(write=True) == []
