# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of a real exchange, holidays and half days included."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from alpaca_websocket.upstream import calendar
from alpaca_websocket.upstream.calendar import CalendarError, Session
from support import PATIENCE, alive, descendants

NEW_YORK = ZoneInfo("America/New_York")


def test_new_york_opens_on_weekdays_by_its_own_clock() -> None:
    found = asyncio.run(calendar.load("XNYS"))
    now = datetime.now(NEW_YORK)
    opened = 0
    for ahead in range(300):
        day = (now + timedelta(days=ahead)).replace(hour=11, minute=0)
        session = found.at(int(day.timestamp()) * 10**9)
        assert session is None or day.weekday() < 5
        if session is None:
            continue
        opened += 1
        opens, closes = (datetime.fromtimestamp(moment / 1e9, UTC).astimezone(NEW_YORK) for moment in session)
        assert (opens.hour, opens.minute) == (9, 30)
        assert (closes.hour, closes.minute) in ((16, 0), (13, 0))
        assert found.at(session.closes) is None
        assert found.at(session.closes - 1) == session
    assert 200 < opened < 215  # 252 in a year, less the holidays
    assert found.at(0) is None


def test_overnight_is_the_night_before_each_day_of_trading() -> None:
    overnight, exchange = asyncio.run(calendar.load("overnight")), asyncio.run(calendar.load("XNYS"))
    now = datetime.now(NEW_YORK)
    opened = 0
    for ahead in range(300):
        day = (now + timedelta(days=ahead)).replace(hour=2, minute=0)
        session = overnight.at(int(day.timestamp()) * 10**9)
        noon = day.replace(hour=11)
        assert (session is None) == (exchange.at(int(noon.timestamp()) * 10**9) is None), day
        assert overnight.at(int(noon.timestamp()) * 10**9) is None
        if session is not None:
            opened += 1
            opens, closes = (datetime.fromtimestamp(moment / 1e9, UTC).astimezone(NEW_YORK) for moment in session)
            assert (opens.hour, closes.hour, closes.date() - opens.date()) == (20, 4, timedelta(days=1))
    assert opened > 200


def test_around_the_clock_needs_no_calendar() -> None:
    assert asyncio.run(calendar.load("24/7")).at(time.time_ns()) == Session(0, 2**63 - 1)


def test_an_unknown_exchange_is_named() -> None:
    with pytest.raises(CalendarError, match="ATLANTIS"):
        asyncio.run(calendar.load("ATLANTIS"))


def test_a_process_that_does_not_answer_is_ended_and_the_server_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(descendants(os.getpid()))

    async def load() -> None:
        with pytest.raises(CalendarError, match="the calendar XNYS was not read within 0 s"):
            await calendar.load("XNYS")
        while any(alive(process) for process in set(descendants(os.getpid())) - before):
            await asyncio.sleep(0.02)

    monkeypatch.setattr(calendar, "_PATIENCE", 0.01)
    asyncio.run(asyncio.wait_for(load(), PATIENCE))


def test_without_sessions_nothing_is_ever_open() -> None:
    assert calendar.Calendar([]).at(time.time_ns()) is None
