# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedules fire every day. The calendar decides which of their events act, and what nobody knows is alerted."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.algo.trading.plugins.module_utils import trading_day as day
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, read_calendar
from trading_day import events, ingestion, report, shutdown
from trading_day.settings import Settings, ShutdownSettings

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = Calendar()
# The schedules of the roles' defaults.
START, EARLY, LATE = time(9, 0), time(13, 10), time(16, 10)
ENVIRONMENT = {"PROJECT": "algo-trading", "ENVIRONMENT": "qa", "ALERT_TOPIC_ARN": "arn:topic"}


def at(on: date, when: time) -> datetime:
    return datetime.combine(on, when, NEW_YORK)


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2027])
def test_a_year_of_days(year: int) -> None:
    """Each day begins once and ends once after its close; a day without a session does neither."""
    on = date(year, 1, 1)
    while on.year == year:
        session = CALENDAR.on(on)
        begins = day.begin_trading(CALENDAR, at(on, START))
        ends = [when for when in (EARLY, LATE) if day.end(CALENDAR, at(on, when)).act]
        assert begins.act == (session is not None)
        assert not begins.alert
        if session is None:
            assert not ends
        else:
            assert ends[0] == (EARLY if session.closes.time() == time(13) else LATE)
            assert timedelta(0) <= at(on, ends[0]) - session.closes == timedelta(minutes=10)
        on += timedelta(days=1)


def test_the_reason_names_the_day() -> None:
    thanksgiving = day.begin_trading(CALENDAR, at(date(2026, 11, 26), START))
    assert thanksgiving == day.Today(False, "XNYS has no session on Thursday, 2026-11-26", idle=True)
    open_still = day.end(CALENDAR, at(date(2026, 11, 25), EARLY))
    assert open_still == day.Today(False, "the session of 2026-11-25 is open until 16:00")
    after = day.begin_trading(CALENDAR, at(date(2026, 11, 27), time(14)))
    assert after == day.Today(False, "the session of 2026-11-27 closed at 13:00 (early close)")


def test_a_day_is_the_exchanges_and_not_utcs() -> None:
    # 20:30 in New York on Friday is Saturday in UTC.
    assert day.end(CALENDAR, datetime(2026, 11, 28, 1, 30, tzinfo=UTC)).act


def test_the_settings_override_a_day() -> None:
    calendar = read_calendar(
        {
            "closed": ["2026-12-01"],
            "early_closes": {"2026-12-02": "13:00"},
            "extra_sessions": {"2026-12-05": "09:30-13:00"},
        }
    )
    assert not day.begin_trading(calendar, at(date(2026, 12, 1), START)).act
    assert day.end(calendar, at(date(2026, 12, 2), EARLY)).act
    assert day.begin_trading(calendar, at(date(2026, 12, 5), START)).act
    assert day.end(calendar, at(date(2026, 12, 5), EARLY)).act


def test_after_the_calendars_end_trading_stops_and_does_not_start() -> None:
    on = date(CALENDAR.last.year + 1, 1, 3)
    assert not day.begin_trading(CALENDAR, at(on, START)).act
    assert not day.end(CALENDAR, at(on, EARLY)).act
    ended = day.end(CALENDAR, at(on, LATE))
    assert ended.act
    assert ended.alert
    assert "Update the collection" in ended.reason


def test_a_person_is_obeyed_on_any_day() -> None:
    assert day.begin_trading(CALENDAR, None).act
    assert day.end(CALENDAR, None).act


def shut_down(world: World, **environment: str) -> dict[str, object]:
    settings = ShutdownSettings.from_env("trading_server_shutdown", {**ENVIRONMENT, **environment})
    event = {"scheduled_time": world.clock.now().isoformat()}
    request = events.parse(event, settings, (events.STOP,), events.STOP)
    aws = shutdown.Aws(world, world, lambda: world, lambda: world)
    return shutdown.run(
        settings, request, aws, world.clock, report.Log(settings, world.log), world.clock.monotonic() + 600
    )


def test_a_holiday_changes_nothing_and_alerts_nobody(world: World) -> None:
    world.add(3)
    result = shut_down(world, CALENDAR='{"closed": ["2028-01-05"]}')
    assert result["ok"]
    assert "no session on Wednesday, 2028-01-05" in str(result["reason"])
    assert world.states() == {"running": 3}
    assert not world.alerts
    assert not world.calls


def test_a_calendar_that_ended_shuts_down_and_tells_also_without_the_topic(world: World) -> None:
    world.add(2)
    world.clock.seconds = timedelta(days=400).total_seconds()
    assert shut_down(world)["ok"]
    assert world.states() == {"stopping": 2}
    assert "covers" in world.alerts[0]["Message"]

    world.add(1)

    def silent(operation: str) -> None:
        if operation == "Publish":
            raise ConnectionError("no route")

    world.before_call = silent
    assert shut_down(world)["ok"]
    assert world.states() == {"stopping": 3}
    assert any(line.get("message") == "Alert failed" for line in world.lines())


def test_ingestion_follows_the_calendar(world: World) -> None:
    (host,) = world.add(1, state="stopped")
    host.tags["Component"] = "alpaca_websocket"
    settings = Settings.from_env("alpaca_websocket", {**ENVIRONMENT, "CALENDAR": '{"closed": ["2028-01-05"]}'})
    event = {"action": "start", "scheduled_time": world.clock.now().isoformat()}
    request = events.parse(event, settings, (events.START, events.STOP))
    result = ingestion.run(settings, request, world, lambda: world, world.clock, report.Log(settings, world.log))
    assert result["ok"]
    assert host.state == "stopped"


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[1]", "must be a JSON object"), ("{", "must be a JSON object"), ('{"exchange": "XLON"}', "exchange must be")],
)
def test_a_wrong_calendar_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        Settings.from_env("alpaca_websocket", {**ENVIRONMENT, "CALENDAR": text})
