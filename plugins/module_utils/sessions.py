# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trading sessions: on which days the exchange is open, and from when to when.

An exchange's days come from ``_exchange_days``. Settings override single days: an unscheduled closure, an early close,
an extra session. Pure: the time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ._errors import AlgoTradingError, InvalidInput
from ._exchange_days import EXCHANGES

DEFAULT_EXCHANGE = "XNYS"
OPTIONS = ("exchange", "closed", "early_closes", "extra_sessions")


class CalendarEnded(AlgoTradingError):
    """The calendar does not cover the day that was asked for."""


@dataclass(frozen=True)
class TradingSession:
    """One session. ``opens`` and ``closes`` carry the exchange's zone."""

    opens: datetime
    closes: datetime
    note: str = ""
    """How it differs from a usual session, such as ``early close``; empty where it does not."""

    @property
    def day(self) -> date:
        return self.opens.date()

    def holds(self, moment: datetime) -> bool:
        return self.opens <= moment < self.closes


@dataclass(frozen=True)
class Hours:
    """The exchange's local times of one session."""

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> Hours:
        """:raises ValueError: if it is not ``HH:MM-HH:MM`` in order."""
        opens, dash, closes = text.partition("-")
        hours = cls(_time(opens), _time(closes))
        if not dash or hours.opens >= hours.closes:
            raise ValueError(text)
        return hours


@dataclass(frozen=True)
class Calendar:
    """The sessions of an exchange, with what the settings override."""

    exchange: str = DEFAULT_EXCHANGE
    closed: frozenset[date] = frozenset()
    early_closes: Mapping[date, time] = field(default_factory=dict)
    extra_sessions: Mapping[date, Hours] = field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self._days["zone"])

    @property
    def usual(self) -> Hours:
        return Hours.parse(self._days["hours"])

    @property
    def last(self) -> date:
        """The last day that the calendar covers."""
        return date.fromisoformat(self._days["last"])

    @property
    def _days(self) -> dict[str, Any]:
        return EXCHANGES[self.exchange]

    def today(self, moment: datetime) -> date:
        """The exchange's day at a moment."""
        return moment.astimezone(self.zone).date()

    def overrides(self, day: date) -> bool:
        """Whether the settings say something about a day."""
        return day in self.closed or day in self.early_closes or day in self.extra_sessions

    def on(self, day: date) -> TradingSession | None:
        """The session of a day, or nothing on a holiday or weekend.

        :raises CalendarEnded: if neither the exchange's days nor the settings cover the day.
        """
        if day in self.closed:
            return None
        if day in self.extra_sessions:
            return self._session(day, self.extra_sessions[day], "extra session")
        published = self._published(day)
        if published is None:
            return None
        if day in self.early_closes:
            return self._session(day, Hours(published.opens, self.early_closes[day]), "early close")
        if published == self.usual:
            return self._session(day, published, "")
        return self._session(day, published, "early close" if published.closes < self.usual.closes else "special hours")

    def at(self, moment: datetime) -> TradingSession | None:
        """The session that is open at a moment.

        :raises CalendarEnded: as for :meth:`on`.
        """
        session = self.on(self.today(moment))
        return session if session is not None and session.holds(moment) else None

    def following(self, moment: datetime, count: int) -> list[TradingSession]:
        """The next sessions that have not ended yet, fewer where the calendar ends."""
        found: list[TradingSession] = []
        for day in self._from(self.today(moment)):
            try:
                session = self.on(day)
            except CalendarEnded:
                break
            if session is not None and session.closes > moment:
                found.append(session)
            if len(found) >= count:
                break
        return found

    def _from(self, day: date) -> Iterator[date]:
        while True:
            yield day
            day += timedelta(days=1)

    def _published(self, day: date) -> Hours | None:
        """What the exchange's own calendar has for a day."""
        days = self._days
        if not date.fromisoformat(days["first"]) <= day <= self.last:
            raise CalendarEnded(
                f"The {self.exchange} calendar of this version covers {days['first']} to {days['last']}, not {day}",
                remedy="Update the collection, and run site.yml",
            )
        if day.weekday() > 4 or str(day) in days["closed"].split():
            return None
        return Hours.parse(days["special"].get(str(day), days["hours"]))

    def _session(self, day: date, hours: Hours, note: str) -> TradingSession:
        zone = self.zone
        return TradingSession(datetime.combine(day, hours.opens, zone), datetime.combine(day, hours.closes, zone), note)


def read_calendar(values: Mapping[str, Any]) -> Calendar:
    """The calendar that the setting ``algo_calendar`` describes.

    :raises InvalidInput: with every problem, if it is not valid or contradicts the exchange's days.
    """
    problems = [f"unknown option {name}; known are {', '.join(OPTIONS)}" for name in values if name not in OPTIONS]
    exchange = values.get("exchange") or DEFAULT_EXCHANGE
    if exchange not in EXCHANGES:
        problems.append(f"exchange must be one of {', '.join(EXCHANGES)}, not {exchange!r}")
        exchange = DEFAULT_EXCHANGE
    closed = [_parsed(day, _day, "closed", "a date such as 2026-12-31", problems) for day in values.get("closed") or ()]
    closes = _mapping(values, "early_closes", _time, "a time such as 13:00", problems)
    extra = _mapping(values, "extra_sessions", Hours.parse, "hours such as 09:30-13:00", problems)
    calendar = Calendar(exchange, frozenset(day for day in closed if day), closes, extra)
    problems += _contradictions(calendar)
    if problems:
        raise InvalidInput("; ".join(problems), remedy="Correct algo_calendar")
    return calendar


def _contradictions(calendar: Calendar) -> Iterator[str]:
    """Overrides that cannot be meant, such as an early close on a holiday."""
    plain = Calendar(calendar.exchange)
    for day in sorted({*calendar.closed, *calendar.early_closes, *calendar.extra_sessions}):
        named = [
            name
            for name, days in (
                ("closed", calendar.closed),
                ("early_closes", calendar.early_closes),
                ("extra_sessions", calendar.extra_sessions),
            )
            if day in days
        ]
        if len(named) > 1:
            yield f"{day} is in {' and in '.join(named)}; name it once"
            continue
        try:
            session = plain.on(day)
        except CalendarEnded as error:
            if named == ["early_closes"]:
                yield f"{named[0]}: {error.problem}"
            continue
        if session is None and named == ["early_closes"]:
            yield f"early_closes: {day} has no session that could close early; use extra_sessions"
        elif session is not None and named == ["extra_sessions"]:
            yield f"extra_sessions: {day} has a session already; use early_closes"
        elif session is not None and named == ["early_closes"]:
            close = calendar.early_closes[day]
            if not session.opens.time() < close < session.closes.time():
                yield (
                    f"early_closes: {day} must close between {session.opens:%H:%M} and {session.closes:%H:%M}, "
                    f"not at {close:%H:%M}"
                )


def _mapping(values: Mapping[str, Any], name: str, read: Any, form: str, problems: list[str]) -> dict[date, Any]:
    entries = values.get(name) or {}
    if not isinstance(entries, Mapping):
        problems.append(f"{name} must be a dictionary of dates, not {entries!r}")
        return {}
    found: dict[date, Any] = {}
    for key, value in entries.items():
        day = _parsed(key, _day, name, "a date such as 2026-12-31", problems)
        content = _parsed(value, read, f"{name}[{key}]", form, problems)
        if day is not None and content is not None:
            found[day] = content
    return found


def _parsed(value: Any, read: Any, name: str, form: str, problems: list[str]) -> Any:
    try:
        return read(str(value))
    except ValueError:
        problems.append(f"{name} must be {form} in quotes, not {value!r}")
        return None


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _time(text: str) -> time:
    if len(text) != 5:
        raise ValueError(text)
    return time.fromisoformat(text)
