# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The event of a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput

from .settings import Settings

START, STOP, CHECK = "start", "stop", "check"
_KEYS = ("action", "dry_run", "environment", "scheduled_time")
# For the shutdown: some models only, asked for by a person; and what an invocation left to the next one.
_CHOICE = ("models", "reason", "handover")
# Clock skew that is tolerated.
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Handover:
    """What an invocation whose time ran out left to the next one."""

    run: str
    """The id of the first invocation, under which the whole run is logged."""
    number: int
    """The first is 1."""
    sent: datetime
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Instances that are not finished → their drains that have failed."""

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "sent": self.sent.isoformat(timespec="seconds"), "attempts": dict(self.attempts)}


@dataclass(frozen=True)
class Published:
    """An object that was written to a bucket."""

    bucket: str
    key: str


@dataclass(frozen=True)
class Request:
    """A checked event."""

    action: str
    dry_run: bool = False
    scheduled: datetime | None = None
    models: frozenset[str] = frozenset()
    """Names of models; empty for all."""
    reason: str = ""
    handover: Handover | None = None
    published: tuple[Published, ...] | None = None
    """Only new models among these get a server; None for an event that is not about published objects."""

    def chosen(self, model: str) -> bool:
        return not self.models or model in self.models

    def why_not(self, now: datetime, max_age: float) -> str | None:
        """Why the event is too old or too early; empty if it is neither."""
        # A run that was handed over began in time; only its last part may not lie around.
        due = self.handover.sent if self.handover else self.scheduled
        if due is None:
            return None
        age = now - due
        if age > timedelta(seconds=max_age):
            return f"the event was due at {due.isoformat()}, {age.total_seconds():.0f} s ago"
        if age < -_SKEW:
            return f"the event is not due until {due.isoformat()}"
        return None


def parse(
    event: Any, settings: Settings, actions: Sequence[str], default: str | None = None, by_model: bool = False
) -> Request:
    """Parse an event; refuse events for anything but this function.

    :param by_model: whether the function can work on some models only, and hand over to itself.
    """
    if not isinstance(event, Mapping):
        raise refused(f"it must be an object, not {type(event).__name__}")
    known = sorted((*_KEYS, *(_CHOICE if by_model else ())))
    unknown = sorted(set(map(str, event)) - set(known))
    if unknown:
        raise refused(f"unknown keys: {', '.join(unknown)}; known are {', '.join(known)}")
    environment = event.get("environment", settings.environment)
    if environment != settings.environment:
        raise refused(f"it is for the environment {environment!r}, this is {settings.environment!r}")
    action = event.get("action", default)
    if action not in actions:
        raise refused(f"action must be {' or '.join(actions)}, not {action!r}")
    dry_run = event.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise refused(f"dry_run must be true or false, not {dry_run!r}")
    reason = event.get("reason", "")
    if not isinstance(reason, str):
        raise refused(f"reason must be text, not {reason!r}")
    scheduled = _time(event.get("scheduled_time"))
    handover = _handover(event.get("handover"))
    return Request(str(action), dry_run, scheduled, _models(event.get("models")), reason, handover)


def _handover(value: Any) -> Handover | None:
    if value is None:
        return None
    try:
        attempts = {str(id_): int(number) for id_, number in value["attempts"].items()}
        found = Handover(str(value["run"]), int(value["number"]), datetime.fromisoformat(value["sent"]), attempts)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise refused("handover is not as this function writes it") from None
    if found.number < 1 or found.sent.tzinfo is None:
        raise refused("handover is not as this function writes it")
    return found


def _models(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    # An empty list is a mistake: it must not mean all.
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise refused(f"models must be a list of one or more names of models, not {value!r}")
    return frozenset(value)


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise refused(f"scheduled_time must be an ISO 8601 time, not {value!r}") from None
    if time.tzinfo is None:
        raise refused(f"scheduled_time needs an offset from UTC: {value!r}")
    return time


def refused(why: str) -> InvalidInput:
    return InvalidInput(f"Invalid event: {why}", remedy="lambda/README.md shows the events")
