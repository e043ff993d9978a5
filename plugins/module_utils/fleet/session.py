# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trading session: when servers must not be stopped, restarted or replaced.

The caller passes the exchange's calendar, or the times of one session with their offset, or a daily window in the
exchange's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .._errors import InvalidInput
from ..sessions import Calendar, CalendarEnded, read_calendar

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Once:
    """One session, from a moment to a moment."""

    begin: datetime
    end: datetime

    def reason(self, now: datetime) -> str:
        """Why nothing may be interrupted now, or nothing if it may."""
        return f"the trading session is open until {self.end.isoformat()}" if self.begin <= now < self.end else ""


@dataclass(frozen=True)
class Daily:
    """A window on some days of the week. If it closes before it opens, it closes on the next day."""

    opens: time
    closes: time
    zone: str
    days: tuple[str, ...]

    def reason(self, now: datetime) -> str:
        """Why nothing may be interrupted now, or nothing if it may."""
        local = now.astimezone(ZoneInfo(self.zone))
        clock, today = local.time().replace(tzinfo=None), local.weekday()
        begun = _DAYS[today] in self.days and clock >= self.opens
        if self.opens < self.closes:
            held = begun and clock < self.closes
        else:
            held = begun or (_DAYS[today - 1] in self.days and clock < self.closes)
        return f"the trading session is open until {self.closes:%H:%M} {self.zone}" if held else ""


@dataclass(frozen=True)
class Exchange:
    """The sessions of an exchange."""

    calendar: Calendar

    def reason(self, now: datetime) -> str:
        """Why nothing may be interrupted now, or nothing if it may."""
        zone = self.calendar.zone
        try:
            session = self.calendar.at(now)
        except CalendarEnded as error:
            local, usual = now.astimezone(zone), self.calendar.usual
            held = local.weekday() < 5 and usual.opens <= local.time() < usual.closes
            return f"the trading session may be open: {error.problem}" if held else ""
        return f"the trading session is open until {session.closes:%H:%M} {zone}" if session else ""


Session = Once | Daily | Exchange  # pylint: disable=unsupported-binary-operation  # it takes the oldest Ansible's Python for ours


def read_session(values: Mapping[str, Any], problems: list[str]) -> Session | None:
    """The session of the option `session`, completed. None if it is not usable; then `problems` says why."""
    # What has the wrong type is named already, and missing here.
    opens, closes, zone = values.get("open", ""), values.get("close", ""), values.get("timezone", "UTC")
    days = values.get("days", [])
    unknown = [day for day in days if day not in _DAYS]
    if unknown:
        problems.append(f"session.days must be one or more of {', '.join(_DAYS)}, not {', '.join(unknown)}")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append(f"session.timezone is not a valid time zone: {zone!r}")
    if not opens or not closes:
        return None
    try:
        if len(opens) <= 5 and len(closes) <= 5:
            daily = Daily(time.fromisoformat(opens), time.fromisoformat(closes), zone, tuple(days))
            if daily.opens == daily.closes:
                problems.append(f"session: open and close are both {opens}; set two different times")
            return daily
        session = Once(datetime.fromisoformat(opens), datetime.fromisoformat(closes))
        if session.begin.tzinfo is None or session.end.tzinfo is None or session.end <= session.begin:
            raise ValueError
    except ValueError:
        problems.append(
            "session: open and close must both be HH:MM in quotes, or both a date and time with offset and in order; "
            f"not {opens!r} and {closes!r}"
        )
        return None
    return session


def read_exchange(values: Mapping[str, Any], problems: list[str]) -> Exchange | None:
    """The sessions of the option `calendar`. None if it is not usable; then `problems` says why."""
    try:
        return Exchange(read_calendar(values))
    except InvalidInput as error:
        problems.append(f"calendar: {error.problem}")
        return None
