"""The control API of the embedded AWS: its clock, its schedules, its permissions."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from . import clock as clocks
from .clock import Clock
from .commands import Commands
from .event_sources import EventSources
from .functions import Functions
from .hosts.service import Hosts
from .permissions import Permissions
from .schedules import Schedules


class Control:
    """Answers below ``/_algo``; a ValueError is the caller's mistake."""

    def __init__(
        self,
        clock: Clock,
        schedules: Schedules,
        functions: Functions,
        event_sources: EventSources,
        permissions: Permissions,
        commands: Commands,
        hosts: Hosts | None = None,
    ) -> None:
        self._clock, self._schedules = clock, schedules
        self._functions, self._permissions = functions, permissions
        self._event_sources = event_sources
        self._commands, self._hosts = commands, hosts

    def clock(self, method: str, body: bytes) -> Any:
        """GET shows it and what comes next; PUT sets ``at`` (ISO 8601) and ``rate``; POST moves to the next event.

        An event is a schedule that fires, a failed invocation that is tried again, or a batch of a queue's messages.
        """
        given = _document(body)
        if method == "PUT":
            at, rate = given.get("at"), given.get("rate")
            self._schedules.set_clock(
                clocks.parse(str(at)) if at is not None else None, float(rate) if rate is not None else None
            )
        elif method == "POST":
            now = self._clock.timestamp()
            events = [each.at for each in self._schedules.upcoming()]
            events += self._retries()
            following = min((event for event in events if event > now), default=None)
            if following is None:
                raise ValueError("Nothing is scheduled, so there is no next event to move to.")
            self._schedules.set_clock(following, None, fire=True)
        return {
            "now": self._clock.now().isoformat(),
            "rate": self._clock.settings()["rate"],
            "next": [each.as_dict() for each in self._schedules.upcoming()],
            "retries": [datetime.fromtimestamp(due, UTC).isoformat() for due in self._retries()],
        }

    def _retries(self) -> list[float]:
        return sorted(self._schedules.retries() + self._functions.waiting() + self._event_sources.waiting())

    def permissions(self, method: str, body: bytes) -> Any:
        """GET reports; PUT names the role that stands for the operator; DELETE forgets what was recorded."""
        if method == "PUT":
            self._permissions.operator = str(_document(body).get("operator") or "")
        elif method == "DELETE":
            self._permissions.forget()
        return {"operator": self._permissions.operator, **self._permissions.report()}

    def commands(self, method: str, body: bytes) -> Any:
        """See `Commands.control`."""
        return self._commands.control(method, _document(body))

    def hosts(self, method: str, body: bytes) -> Any:
        """See `Hosts.control`."""
        if self._hosts is None:
            raise ValueError("Instances are records here. Start with hosts: python tools/embedded_aws start --hosts on")
        return self._hosts.control(method, _document(body))

    def inside(self, _method: str, _body: bytes) -> Any:
        """See `Hosts.inside`."""
        if self._hosts is None:
            raise ValueError("Instances are records here. Start with hosts: python tools/embedded_aws start --hosts on")
        return self._hosts.inside()

    def forget(self) -> None:
        """Forget everything: the account was reset."""
        self._schedules.forget()
        self._functions.forget()
        self._event_sources.forget()
        self._commands.forget()
        if self._hosts is not None:
            self._hosts.forget()
        self._permissions.forget()
        self._permissions.operator = ""
        self._schedules.set_clock(time.time(), 1.0)


def _document(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    given = json.loads(body)
    if not isinstance(given, dict):
        raise ValueError("A JSON object is expected.")
    return given
