"""EventBridge Scheduler fires: in each schedule's time zone, on the movable clock, as the schedule's role.

A local time that a change of daylight saving skips does not fire; one that comes twice fires once
(https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html). A clock that is set to a later time skips
what lies between.
"""

from __future__ import annotations

import heapq
import itertools
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from aws_croniter import AwsCroniter

from . import account
from .acting import Acting
from .clock import Clock
from .parameters import Parameters
from .recording import Answer, Request

_LOOK_SECONDS = 0.25
_UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 60.0, 3600.0


@dataclass(frozen=True)
class Upcoming:
    """When a schedule fires next."""

    at: float
    region: str
    group: str
    name: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(),
            "region": self.region,
            "group": self.group,
            "name": self.name,
        }


@dataclass(order=True)
class _Delivery:
    due: float
    number: int
    schedule: Any = field(compare=False)
    region: str = field(compare=False)
    at: float = field(compare=False)
    execution: str = field(compare=False, default_factory=lambda: str(uuid.uuid4()))
    tries: int = field(compare=False, default=0)


class Schedules:
    """Fires the account's schedules."""

    def __init__(
        self, clock: Clock, moto: AbstractContextManager[Any], acting: Acting, log: Callable[[str], None]
    ) -> None:
        self._clock, self._moto, self._acting, self._log = clock, moto, acting, log
        self._numbers = itertools.count()
        self._deliveries: list[_Delivery] = []
        self._lock = threading.Lock()
        self._seen = clock.timestamp()
        threading.Thread(target=self._work, daemon=True, name="schedules").start()

    def __call__(self, request: Request) -> Answer | None:
        """Refuse a schedule that could never be understood; moto takes any."""
        if request.service != "scheduler" or request.operation not in ("CreateSchedule", "UpdateSchedule"):
            return None
        given = Parameters(request)
        expression, zone = given.one("ScheduleExpression"), given.one("ScheduleExpressionTimezone")
        now = self._clock.timestamp()
        try:
            next_time(
                SimpleNamespace(
                    schedule_expression=expression,
                    schedule_expression_timezone=zone,
                    start_date=None,
                    end_date=None,
                    creation_date=now,
                ),
                now,
            )
        except Exception:  # the libraries for cron and for zones raise what they like
            message = f"Invalid Schedule Expression {expression} in time zone {zone or 'UTC'}."
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "ValidationException"}
            return Answer("400 Bad Request", headers, json.dumps({"Message": message}).encode())
        return None

    def upcoming(self) -> list[Upcoming]:
        """When each enabled schedule fires next, soonest first."""
        now = self._clock.timestamp()
        with self._moto:
            found = [
                Upcoming(at, region, schedule.group_name, schedule.name)
                for region, schedule in account.schedules()
                if schedule.state == "ENABLED" and (at := next_time(schedule, now)) is not None
            ]
        return sorted(found, key=lambda each: (each.at, each.group, each.name))

    def retries(self) -> list[float]:
        """When failed deliveries are tried again."""
        with self._lock:
            return sorted(delivery.due for delivery in self._deliveries)

    def set_clock(self, timestamp: float | None, rate: float | None, *, fire: bool = False) -> None:
        """Set the clock; what lies between the old and the new time is skipped.

        :param fire: what is due at the very time that is set fires
        """
        with self._lock:
            self._clock.set(timestamp, rate)
            if timestamp is not None:
                self._seen = timestamp - 1 if fire else timestamp

    def forget(self) -> None:
        """Drop pending deliveries: the account was reset."""
        with self._lock:
            self._deliveries.clear()

    def _work(self) -> None:
        while True:
            self._clock.wait(_LOOK_SECONDS)
            try:
                self._look()
            except Exception as error:  # one invalid schedule must not stop the others
                self._log(f"schedules: {error!r}")

    def _look(self) -> None:
        with self._lock:
            now, since = self._clock.timestamp(), self._seen
            self._seen = max(now, since)
        if now > since:
            with self._moto:
                due = [
                    (region, schedule, at)
                    for region, schedule in account.schedules()
                    if schedule.state == "ENABLED"
                    for at in _between(schedule, since, now)
                ]
            for region, schedule, at in due:
                self._put(_Delivery(at, next(self._numbers), schedule, region, at))
        while (delivery := self._due(now)) is not None:
            threading.Thread(target=self._deliver, args=(delivery,), daemon=True).start()

    def _put(self, delivery: _Delivery) -> None:
        with self._lock:
            heapq.heappush(self._deliveries, delivery)

    def _due(self, now: float) -> _Delivery | None:
        with self._lock:
            if self._deliveries and self._deliveries[0].due <= now:
                return heapq.heappop(self._deliveries)
            return None

    def _deliver(self, delivery: _Delivery) -> None:
        schedule, target = delivery.schedule, delivery.schedule.target
        with self._moto:
            credentials = account.assume(target["RoleArn"], "scheduler", delivery.region)
        try:
            self._acting.send(target["Arn"], _input(delivery, target), delivery.region, credentials)
        except Exception as error:
            self._log(f"schedule {schedule.group_name}/{schedule.name}: {error}")
            self._again(delivery, target, credentials, error)
            return
        self._log(f"schedule {schedule.group_name}/{schedule.name}: delivered to {target['Arn']}")
        if schedule.schedule_expression.startswith("at(") and schedule.action_after_completion == "DELETE":
            with self._moto:
                group = account.backend("scheduler", delivery.region).schedule_groups.get(schedule.group_name)
                if group is not None:
                    group.schedules.pop(schedule.name, None)

    def _again(
        self, delivery: _Delivery, target: dict[str, Any], credentials: account.Credentials, error: Exception
    ) -> None:
        """Try again with growing pauses, within the schedule's policy; what is given up goes to its queue."""
        policy = target.get("RetryPolicy") or {}
        now = self._clock.timestamp()
        old = now - delivery.at > float(policy.get("MaximumEventAgeInSeconds", 86400))
        if not old and delivery.tries < int(policy.get("MaximumRetryAttempts", 185)):
            pause = min(_FIRST_RETRY_SECONDS * 2**delivery.tries, _LONGEST_RETRY_SECONDS)
            delivery.tries += 1
            delivery.due = now + pause
            self._put(delivery)
            return
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            return
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__))
        attributes = {
            "ERROR_CODE": code,
            "ERROR_MESSAGE": str(error)[:1000],
            "EXECUTION_ID": delivery.execution,
            "EXHAUSTED_RETRY_CONDITION": "MaximumEventAgeInSeconds" if old else "MaximumRetryAttempts",
            "RETRY_ATTEMPTS": str(delivery.tries),
            "SCHEDULE_ARN": delivery.schedule.arn,
            "TARGET_ARN": target["Arn"],
        }
        try:
            self._acting.send(queue, _input(delivery, target), delivery.region, credentials, attributes)
        except Exception as lost:
            self._log(f"schedule {delivery.schedule.name}: lost, and its dead-letter queue refuses it: {lost}")


def _between(schedule: Any, since: float, until: float) -> Iterator[float]:
    while (since_then := next_time(schedule, since)) is not None and since_then <= until:
        yield since_then
        since = since_then


def _input(delivery: _Delivery, target: dict[str, Any]) -> str:
    """The target's input, with the context attributes filled in.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    known = {
        "schedule-arn": delivery.schedule.arn,
        "scheduled-time": f"{datetime.fromtimestamp(delivery.at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "execution-id": delivery.execution,
        "attempt-number": str(delivery.tries + 1),
    }
    text = target.get("Input") or json.dumps({})
    return re.sub(r"<aws\.scheduler\.([a-z-]+)>", lambda found: known.get(found[1], found[0]), text)


def next_time(schedule: Any, after: float) -> float | None:
    """When a schedule fires next after a time, as timestamps; None for never.

    :raises ValueError: for an expression that is none of ``at()``, ``rate()`` and ``cron()``
    """
    kind, _, rest = str(schedule.schedule_expression).partition("(")
    text = rest.removesuffix(")")
    zone = ZoneInfo(schedule.schedule_expression_timezone or "UTC")
    begin = _timestamp(schedule.start_date)
    if begin is not None:
        after = max(after, begin - 1)
    found: float | None
    if kind == "at":
        once = datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
        found = once if once > after else None
    elif kind == "rate":
        number, unit = text.split()
        step = int(number) * _UNITS[unit.removesuffix("s")]
        since = begin if begin is not None else float(schedule.creation_date)
        found = since + max(1, int((after - since) // step) + 1) * step
    elif kind == "cron":
        found = _next_cron(text, zone, after)
    else:
        raise ValueError(f"{schedule.schedule_expression} is not a valid schedule expression")
    end = _timestamp(schedule.end_date)
    return None if found is None or (end is not None and found > end) else found


def _next_cron(text: str, zone: ZoneInfo, after: float) -> float | None:
    cron = AwsCroniter(text)
    # The library counts in UTC; here it counts the wall clock of the schedule's zone.
    wall = datetime.fromtimestamp(after, zone).replace(tzinfo=UTC, fold=0) - timedelta(hours=2)
    while (following := cron.occurrence(wall).next()) is not None:
        local = following.replace(tzinfo=zone)
        exists = datetime.fromtimestamp(local.timestamp(), zone).replace(tzinfo=UTC, fold=0) == following
        moment: float = local.timestamp()
        if exists and moment > after:
            return moment
        wall = following
    return None


def _timestamp(value: Any) -> float | None:
    """A schedule's start or end as moto keeps it: seconds, or ISO 8601."""
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
