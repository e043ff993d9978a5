"""Schedules fire in their time zone, on a clock that can be moved."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

from ansible_collections.algo.trading.tests.integration.embedded_aws.conftest import ACCOUNT, Cloud, until
from botocore.exceptions import ClientError
from embedded_aws.schedules import next_time

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS = "cron(0 9 ? * MON-FRI *)"


def _fires(expression: str, after: datetime, count: int, zone: str = "America/New_York") -> list[str]:
    schedule = SimpleNamespace(
        schedule_expression=expression,
        schedule_expression_timezone=zone,
        start_date=None,
        end_date=None,
        creation_date=after.timestamp(),
    )
    found = []
    moment: float | None = after.timestamp()
    for _time in range(count):
        assert moment is not None
        moment = next_time(schedule, moment)
        found.append(f"{datetime.fromtimestamp(moment, ZoneInfo(zone)):%a %m-%d %H:%M%z}" if moment else "never")
    return found


def test_weekdays_stay_at_the_same_wall_time_across_a_change_of_daylight_saving() -> None:
    assert _fires(WEEKDAYS, datetime(2026, 3, 5, 12, tzinfo=UTC), 4) == [
        "Thu 03-05 09:00-0500",
        "Fri 03-06 09:00-0500",
        "Mon 03-09 09:00-0400",
        "Tue 03-10 09:00-0400",
    ]


def test_a_time_that_does_not_exist_is_skipped_and_a_doubled_one_fires_once() -> None:
    daily = "cron(30 2 * * ? *)"
    assert _fires(daily, datetime(2026, 3, 7, 12, tzinfo=UTC), 2) == ["Mon 03-09 02:30-0400", "Tue 03-10 02:30-0400"]
    twice = "cron(30 1 * * ? *)"
    assert _fires(twice, datetime(2026, 10, 31, 12, tzinfo=UTC), 2) == ["Sun 11-01 01:30-0400", "Mon 11-02 01:30-0500"]


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("at(2026-07-04T09:30:00)", ["Sat 07-04 09:30-0400", "never"]),
        ("rate(1 hour)", ["Thu 01-01 13:00-0500", "Thu 01-01 14:00-0500"]),
        ("cron(0 16 ? * FRI#3 *)", ["Fri 01-16 16:00-0500", "Fri 02-20 16:00-0500"]),
        ("cron(0 16 L * ? *)", ["Sat 01-31 16:00-0500", "Sat 02-28 16:00-0500"]),
        ("cron(0 0 1 1 ? 2020)", ["never"]),
    ],
)
def test_every_kind_of_expression(expression: str, fires: list[str]) -> None:
    assert _fires(expression, datetime(2026, 1, 1, 17, tzinfo=UTC), len(fires)) == fires


NOTES = """
import boto3, datetime, json, os, time
def handler(event, context):
    shown = [datetime.datetime.now(datetime.timezone.utc).isoformat(), time.time()]
    text = json.dumps({'event': event, 'shown': shown})
    boto3.client('sqs').send_message(QueueUrl=os.environ['QUEUE'], MessageBody=text)
"""


def _noting(cloud: Cloud) -> tuple[str, str]:
    queue = cloud.queue("notes")
    url = cloud.aws.client("sqs").get_queue_url(QueueName="notes")["QueueUrl"]
    cloud.function(
        "notes",
        NOTES,
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queue},
        Environment={"Variables": {"QUEUE": url}},
    )
    return queue, f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:notes"


def test_moving_the_clock_to_the_next_event_fires_it_and_the_function_sees_that_time(cloud: Cloud) -> None:
    queue, function = _noting(cloud)
    text = json.dumps({"action": "start", "at": "<aws.scheduler.scheduled-time>"})
    cloud.schedule("start", WEEKDAYS, function, "America/New_York", Target={"Input": text})
    cloud.control("clock", "PUT", at="2026-11-25T05:00:00-05:00", rate=0)
    shown = cloud.control("clock", "POST")
    assert shown["now"] == "2026-11-25T14:00:00+00:00"
    assert [event["name"] for event in shown["next"]] == ["start"]
    assert shown["next"][0]["at"] == "2026-11-26T14:00:00+00:00"
    noted = json.loads(until(lambda: cloud.messages(queue))[0]["Body"])
    assert noted["event"] == {"action": "start", "at": "2026-11-25T14:00:00Z"}
    assert noted["shown"][0].startswith("2026-11-25T14:00:00")
    assert noted["shown"][1] == pytest.approx(datetime(2026, 11, 25, 14, tzinfo=UTC).timestamp())


def test_a_fast_clock_fires_every_time_and_a_set_one_skips(cloud: Cloud) -> None:
    queue = cloud.queue("minutes")
    cloud.schedule("minutes", "cron(* * * * ? *)", queue, Target={"Input": '"<aws.scheduler.scheduled-time>"'})
    cloud.control("clock", "PUT", at="2030-01-01T00:00:30", rate=0)
    cloud.control("clock", "PUT", at="2030-01-01T01:00:30")
    assert cloud.messages(queue) == []
    cloud.control("clock", "PUT", rate=60)
    found: list[str] = []

    def enough() -> bool:
        found.extend(message["Body"] for message in cloud.messages(queue))
        return len(found) >= 4

    until(enough)
    expected = [f'"2030-01-01T01:{minute:02d}:00Z"' for minute in range(1, 5)]
    assert sorted(found)[:4] == expected


def test_a_delivery_that_fails_is_tried_again_and_ends_in_the_dead_letter_queue(cloud: Cloud) -> None:
    dead = cloud.queue("dead")
    nobody = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:nobody"
    retry = {"MaximumRetryAttempts": 1, "MaximumEventAgeInSeconds": 86400}
    cloud.control("clock", "PUT", at="2030-01-01T00:00:00", rate=0)
    cloud.schedule(
        "lost",
        "at(2030-01-01T09:00:00)",
        nobody,
        Target={"Input": '{"action": "stop"}', "RetryPolicy": retry, "DeadLetterConfig": {"Arn": dead}},
    )
    assert cloud.control("clock", "POST")["now"] == "2030-01-01T09:00:00+00:00"
    until(lambda: "error" not in cloud.control("clock", "POST"))  # the second try
    message = until(lambda: cloud.messages(dead))[0]
    assert json.loads(message["Body"]) == {"action": "stop"}
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["ERROR_CODE"] == "ResourceNotFoundException"
    assert attributes["RETRY_ATTEMPTS"] == "1"
    assert attributes["TARGET_ARN"] == nobody


def test_a_schedule_without_permission_does_not_reach_its_function(cloud: Cloud) -> None:
    queue, function = _noting(cloud)
    dead = cloud.queue("dead")
    retry = {"MaximumRetryAttempts": 0}
    cloud.control("clock", "PUT", at="2030-01-01T00:00:00", rate=0)
    cloud.schedule(
        "denied",
        "at(2030-01-01T09:00:00)",
        function,
        Target={"Input": "{}", "RetryPolicy": retry, "DeadLetterConfig": {"Arn": dead}},
    )
    cloud.allow("denied-scheduler", {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": dead})
    cloud.control("clock", "POST")
    message = until(lambda: cloud.messages(dead))[0]
    assert message["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "AccessDeniedException"
    assert cloud.messages(queue) == []


def test_a_disabled_schedule_stays_silent_and_a_single_one_goes_when_it_is_told_to(cloud: Cloud) -> None:
    queue = cloud.queue("once")
    cloud.control("clock", "PUT", at="2030-01-01T00:00:00", rate=0)
    cloud.schedule("off", "at(2030-01-01T08:00:00)", queue, State="DISABLED")
    cloud.schedule("once", "at(2030-01-01T09:00:00)", queue, ActionAfterCompletion="DELETE")
    assert [event["name"] for event in cloud.control("clock")["next"]] == ["once"]
    cloud.control("clock", "POST")
    until(lambda: cloud.messages(queue))
    scheduler = cloud.aws.client("scheduler")
    until(lambda: [each["Name"] for each in scheduler.list_schedules()["Schedules"]] == ["off"])
    assert "error" in cloud.control("clock", "POST")


def test_a_schedule_that_nobody_understands_is_refused_and_stops_no_other(cloud: Cloud) -> None:
    queue = cloud.queue("notes")
    for number, (expression, zone) in enumerate(
        (
            ("cron(0 99 ? * MON-FRI *)", "UTC"),
            ("rate(2 fortnights)", "UTC"),
            ("at(tomorrow)", "UTC"),
            ("daily", "UTC"),
            ("rate(1 hour)", "America/Gotham"),
        )
    ):
        with pytest.raises(ClientError, match="ValidationException"):
            cloud.schedule(f"wrong-{number}", expression, queue, zone)
    cloud.control("clock", "PUT", at="2030-01-01T00:00:00", rate=0)
    cloud.schedule("right", "at(2030-01-01T09:00:00)", queue)
    cloud.control("clock", "POST")
    until(lambda: cloud.messages(queue))


def test_what_is_no_time_is_refused(cloud: Cloud) -> None:
    assert "error" in cloud.control("clock", "PUT", at="tomorrow")
    assert "error" in cloud.control("clock", "PUT", rate=-1)


def test_emptying_the_account_sets_the_clock_to_the_machines_time(cloud: Cloud) -> None:
    cloud.control("clock", "PUT", at="2030-01-01T00:00:00", rate=0)
    cloud.aws.reset()
    shown = cloud.control("clock")
    assert shown["rate"] == 1
    assert abs(datetime.fromisoformat(shown["now"]) - datetime.now(UTC)) < timedelta(hours=1)
