# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happens on a trading day: which scheduled events the functions carry out, and when.

Schedules fire every day; the exchange's calendar decides. An event without a scheduled time was sent by a person, and
is always carried out. Pure: the functions and ``playbooks/sessions.yml`` share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from .sessions import Calendar, CalendarEnded, TradingSession


@dataclass(frozen=True)
class Today:
    """Whether to act, and why. ``alert`` is set where nobody can know, so that a person looks.

    ``idle`` is set on a day without a session: then nothing is left to do.
    """

    act: bool
    reason: str = ""
    alert: bool = False
    idle: bool = False


def _session(calendar: Calendar, moment: datetime, unknown: bool) -> TradingSession | Today:
    """The session of a day, or what holds for all events of a day without one.

    :param unknown: whether to act on a day that the calendar does not cover.
    """
    day = calendar.today(moment)
    try:
        session = calendar.on(day)
    except CalendarEnded as error:
        return Today(unknown, str(error), alert=True)
    return session or Today(False, f"{calendar.exchange} has no session on {day:%A}, {day}", idle=True)


def begin(calendar: Calendar, scheduled: datetime | None, unknown: bool) -> Today:
    """Whether to start what a session needs.

    :param unknown: whether to start on a day that the calendar does not cover.
    """
    if scheduled is None:
        return Today(True)
    session = _session(calendar, scheduled, unknown)
    if isinstance(session, Today):
        return session
    if scheduled >= session.closes:
        note = session.note or "as usual"
        return Today(False, f"the session of {session.day} closed at {session.closes:%H:%M} ({note})")
    return Today(True)


# The start before the open takes what is published earlier.
ADD_BEFORE_OPEN = timedelta(hours=1)


def add_models(calendar: Calendar, now: datetime | None) -> Today:
    """Whether a model that is published now gets its server at once; otherwise the next start takes it."""
    if now is None:
        return Today(True)
    session = _session(calendar, now, unknown=False)
    if isinstance(session, Today):
        return session
    told = f"the session of {session.day}"
    if now < session.opens - ADD_BEFORE_OPEN:
        return Today(False, f"{told} opens at {session.opens:%H:%M}; its start takes new models")
    if now >= session.closes:
        return Today(False, f"{told} closed at {session.closes:%H:%M}; the next start takes new models")
    return Today(True)


# People know before the open which servers do not trade, with time to act.
REPORT_BEFORE_OPEN = timedelta(minutes=5)


def report_by(calendar: Calendar, scheduled: datetime | None) -> datetime | None:
    """When the check of the start must have told people; nothing where no session is due."""
    session = calendar.on(calendar.today(scheduled)) if scheduled is not None else None
    return session.opens - REPORT_BEFORE_OPEN if session is not None else None


def end(calendar: Calendar, scheduled: datetime | None) -> Today:
    """Whether to end the session's work. On a day that the calendar does not cover, after the usual close."""
    if scheduled is None:
        return Today(True)
    after = scheduled.astimezone(calendar.zone).time() >= calendar.usual.closes
    session = _session(calendar, scheduled, unknown=after)
    if isinstance(session, Today):
        return session
    if scheduled < session.closes:
        return Today(False, f"the session of {session.day} is open until {session.closes:%H:%M}")
    return Today(True)


# Market data without trading does no harm, so a day that the calendar does not cover has it. Trading does not start.
begin_ingestion = partial(begin, unknown=True)
begin_trading = partial(begin, unknown=False)


class Rule(Protocol):
    """Whether to act on an event of this time; None for one that a person sent."""

    def __call__(self, calendar: Calendar, scheduled: datetime | None, /) -> Today: ...


# Setting → what its schedule does, and the rule that decides.
SCHEDULES: dict[str, tuple[str, Rule]] = {
    "aws_alpaca_websocket_start_schedule": ("the market-data server starts", begin_ingestion),
    "aws_trading_server_schedule": ("the trading servers start", begin_trading),
    "aws_trading_server_check_schedule": ("the start is checked", begin_trading),
    "aws_trading_server_shutdown_early_schedule": ("the trading servers shut down", end),
    "aws_trading_server_shutdown_schedule": ("the trading servers shut down", end),
    "aws_alpaca_websocket_stop_schedule": ("the market-data server stops", end),
}


def agenda(calendar: Calendar, settings: Mapping[str, Any], now: datetime, count: int) -> list[dict[str, Any]]:
    """The next sessions, and what the environment's schedules do on each of them.

    :param settings: the environment's settings, from which the schedules are taken.
    :return: ``{day, opens, closes, note, events: [{time, what}]}``; times are ``HH:MM`` of the exchange's zone. A
        schedule whose time cannot be told from its expression has the expression in ``time``.
    """
    return [
        {
            "day": f"{session.day:%a} {session.day}",
            "opens": f"{session.opens:%H:%M}",
            "closes": f"{session.closes:%H:%M}",
            "note": session.note,
            "events": _events(calendar, settings, session) if settings.get("algo_schedules") else [],
        }
        for session in calendar.following(now, count)
    ]


def _events(calendar: Calendar, settings: Mapping[str, Any], session: TradingSession) -> list[dict[str, str]]:
    zone = ZoneInfo(str(settings["algo_timezone"]))
    found: list[tuple[str, str]] = []
    for setting, (what, rule) in SCHEDULES.items():
        expression = str(settings.get(setting) or "")
        if not expression:
            continue
        try:
            fired = [_moment(expression, day, zone) for day in _around(session.day)]
        except ValueError:
            found.append((expression, what))
            continue
        local = (moment.astimezone(calendar.zone) for moment in fired if moment is not None)
        found += [
            (f"{moment:%H:%M}", what) for moment in local if moment.date() == session.day and rule(calendar, moment).act
        ]
    return [{"time": when, "what": what} for when, what in sorted(found)]


def _around(day: date) -> Iterator[date]:
    """Days in whose schedules, in another zone, an event of this day can stand."""
    yield from (day + timedelta(days=offset) for offset in (-1, 0, 1))


_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_CRON = re.compile(r"cron\((\d{1,2}) (\d{1,2}) [*?] \* (\S+) \*\)")


def _moment(expression: str, day: date, zone: ZoneInfo) -> datetime | None:
    """When an expression fires on a day, for the plain form: a minute, an hour, days of the week.

    :raises ValueError: for any other form.
    """
    matched = _CRON.fullmatch(expression)
    if matched is None:
        raise ValueError(expression)
    minute, hour, days = matched.groups()
    return datetime.combine(day, time(int(hour), int(minute)), zone) if _fires(days, day) else None


def _fires(days: str, day: date) -> bool:
    if days in ("*", "?"):
        return True
    today = day.isoweekday() % 7
    for part in days.upper().split(","):
        first, _dash, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(days)
        if _DAYS.index(first) <= today <= _DAYS.index(last or first):
            return True
    return False
