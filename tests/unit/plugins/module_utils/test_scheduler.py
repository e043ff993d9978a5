# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a schedule becomes from what exists and what is asked for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils import scheduler
from ansible_collections.algo.trading.plugins.module_utils._schedules import request_form, schedule_view

pytest.importorskip("botocore", reason="the AWS SDK carries the API's own model")

import boto3
from ansible_collections.algo.trading.plugins.module_utils.aws_module import ModuleApi
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper
from botocore.stub import Stubber

LAMBDA = "arn:aws:lambda:us-east-1:123456789012:function:f"
ROLE = "arn:aws:iam::123456789012:role/f-scheduler"
EXISTING: dict[str, Any] = {
    "Arn": "arn:aws:scheduler:us-east-1:123456789012:schedule/g/s",
    "CreationDate": datetime(2025, 1, 1, tzinfo=UTC),
    "Description": "After the close",
    "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 5},
    "GroupName": "g",
    "Name": "s",
    "ScheduleExpression": "cron(15 16 ? * MON-FRI *)",
    "ScheduleExpressionTimezone": "America/New_York",
    "State": "DISABLED",
    "Target": {
        "Arn": LAMBDA,
        "RoleArn": ROLE,
        "Input": '{"action": "stop"}',
        "RetryPolicy": {"MaximumEventAgeInSeconds": 900, "MaximumRetryAttempts": 3},
        "DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:123456789012:q"},
    },
}


def client() -> Any:
    return boto3.client("scheduler", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def options(**given: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "group_name": "g",
        "flexible_time_window": None,
        "start_date": None,
        "end_date": None,
        "schedule_expression": None,
        **given,
    }


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 9 ? * MON-FRI *)",
        "cron(0/15 9-16 * * ? 2030)",
        "rate(1 minute)",
        "rate(12 hours)",
        "at(2030-01-02T09:00:00)",
    ],
)
def test_an_expression_is_accepted(expression: str) -> None:
    assert scheduler.expression_problem(expression) is None


@pytest.mark.parametrize(
    "expression",
    ["0 9 * * *", "cron(0 9 * * *)", "rate(0 minutes)", "rate(5 weeks)", "at(2030-01-02)", "at(tomorrow)", ""],
)
def test_an_expression_is_refused_with_what_would_be_right(expression: str) -> None:
    assert "cron(minutes" in str(scheduler.expression_problem(expression))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "with space"}, "name 'with space'"),
        ({"group_name": "a/b"}, "group_name 'a/b'"),
        (
            {"flexible_time_window": {"mode": "FLEXIBLE", "maximum_window_in_minutes": None}},
            "maximum_window_in_minutes",
        ),
        ({"flexible_time_window": {"mode": "OFF", "maximum_window_in_minutes": 5}}, "maximum_window_in_minutes"),
        ({"start_date": "soon"}, "start_date 'soon'"),
        ({"schedule_expression": "daily"}, "schedule_expression 'daily'"),
    ],
)
def test_bad_options_are_found_before_any_call(given: dict[str, Any], says: str) -> None:
    assert says in str(scheduler.option_problem(options(**given)))


def test_an_update_keeps_everything_that_was_not_mentioned() -> None:
    current = request_form(EXISTING)
    wanted = scheduler.desired_schedule(current, options(enabled=True))
    assert wanted == {**current, "State": "ENABLED"}
    assert set(wanted) <= set(client().meta.service_model.shape_for("UpdateScheduleInput").members)


def test_nothing_mentioned_changes_nothing() -> None:
    current = request_form(EXISTING)
    assert scheduler.same_schedule(current, scheduler.desired_schedule(current, options()))


def test_an_empty_value_clears() -> None:
    current = request_form({**EXISTING, "EndDate": datetime(2030, 1, 1, tzinfo=UTC)})
    wanted = scheduler.desired_schedule(
        current, options(description="", end_date="", target={"DeadLetterConfig": {}, "Input": ""})
    )
    assert not {"Description", "EndDate"} & set(wanted)
    assert not {"DeadLetterConfig", "Input"} & set(wanted["Target"])
    assert wanted["Target"]["RetryPolicy"] == EXISTING["Target"]["RetryPolicy"]


def test_another_target_inherits_nothing_from_the_old_one() -> None:
    wanted = scheduler.desired_schedule(request_form(EXISTING), options(target={"Arn": f"{LAMBDA}2"}))
    assert "Input" not in wanted["Target"]
    assert scheduler.missing_for_creation(wanted) == ["target.role_arn"]


def test_input_is_compared_as_json() -> None:
    current = request_form(EXISTING)
    wanted = scheduler.desired_schedule(current, options(target={"Input": '{"action":"stop"}'}))
    assert wanted != current
    assert scheduler.same_schedule(current, wanted)


def test_a_new_schedule_has_awss_defaults_and_times_in_utc() -> None:
    wanted = scheduler.desired_schedule(
        None,
        options(
            schedule_expression="rate(1 day)",
            start_date="2030-01-01T00:00:00.5",
            end_date="2030-06-01T00:00:00-04:00",
            target={"Arn": LAMBDA, "RoleArn": ROLE, "RetryPolicy": {"MaximumRetryAttempts": 0}},
        ),
    )
    assert wanted["State"] == "ENABLED"
    assert wanted["ScheduleExpressionTimezone"] == "UTC"
    assert wanted["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert wanted["StartDate"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert wanted["EndDate"] == datetime(2030, 6, 1, 4, tzinfo=UTC)
    assert wanted["Target"]["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 0}


def test_a_schedule_can_not_be_made_of_nothing() -> None:
    wanted = scheduler.desired_schedule(None, options())
    assert scheduler.missing_for_creation(wanted) == ["schedule_expression", "target.arn", "target.role_arn"]


def test_options_get_the_apis_own_spelling() -> None:
    shape = client().meta.service_model.shape_for("Target")
    assert scheduler.to_api(
        shape,
        {
            "role_arn": ROLE,
            "input": None,
            "ecs_parameters": {
                "enable_ecs_managed_tags": True,
                "capacity_provider_strategy": [{"capacity_provider": "FARGATE_SPOT"}],
                "network_configuration": {"awsvpc_configuration": {"subnets": ["subnet-1"]}},
            },
        },
    ) == {
        "RoleArn": ROLE,
        "EcsParameters": {
            "EnableECSManagedTags": True,
            "CapacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}],
            "NetworkConfiguration": {"awsvpcConfiguration": {"Subnets": ["subnet-1"]}},
        },
    }


def test_an_unknown_parameter_is_named_with_its_place() -> None:
    shape = client().meta.service_model.shape_for("Target")
    with pytest.raises(AnsibleAWSError) as caught:
        scheduler.to_api(shape, {"sqs_parameters": {"group": "x"}})
    assert "group is not valid in target.sqs_parameters; valid are message_group_id" in str(caught.value)


def test_users_see_snake_case_and_iso_times() -> None:
    view = schedule_view(EXISTING)
    assert view["creation_date"] == "2025-01-01T00:00:00+00:00"
    assert view["target"]["retry_policy"] == {"maximum_event_age_in_seconds": 900, "maximum_retry_attempts": 3}
    assert view["target"]["input"] == '{"action": "stop"}'
    assert schedule_view(None) == {}


def _stub() -> tuple[ModuleApi, Stubber]:
    plain = client()
    return ModuleApi(RetryingBotoClientWrapper(plain, AWSRetry.jittered_backoff(retries=1))), Stubber(plain)


def _refuse(stub: Stubber, message: str) -> None:
    stub.add_client_error("create_schedule", "ValidationException", message, http_status_code=400)


NOT_YET = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
REQUEST = request_form(EXISTING)


def test_a_role_that_is_too_new_is_waited_for() -> None:
    api, stub = _stub()
    _refuse(stub, NOT_YET)
    stub.add_response("create_schedule", {"ScheduleArn": EXISTING["Arn"]})
    with stub:
        scheduler.create_schedule(api, REQUEST, role_timeout=30)
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(("message", "timeout"), [(NOT_YET, 0), ("Invalid Schedule Expression cron(1).", 30)])
def test_a_role_is_not_waited_for_forever_nor_any_other_mistake_at_all(message: str, timeout: float) -> None:
    api, stub = _stub()
    _refuse(stub, message)
    with stub, pytest.raises(AnsibleAWSError) as caught:
        scheduler.create_schedule(api, REQUEST, role_timeout=timeout)
    assert "Failed to create schedule g/s" in str(caught.value)
