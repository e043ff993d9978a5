# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions, against the days that the New York Stock Exchange has published."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from ansible_collections.algo.trading.plugins.module_utils._exchange_days import EXCHANGES
from ansible_collections.algo.trading.plugins.module_utils.sessions import (
    DEFAULT_EXCHANGE,
    OPTIONS,
    Calendar,
    CalendarEnded,
    read_calendar,
)

CALENDAR = Calendar()
NEW_YORK = ZoneInfo("America/New_York")

# https://www.nyse.com/markets/hours-calendars, for 2024 to 2027.
HOLIDAYS = {
    2024: "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25",
    # 9 January: day of mourning for Jimmy Carter.
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
}
EARLY_CLOSES = {2024: "07-03 11-29 12-24", 2025: "07-03 11-28 12-24", 2026: "11-27 12-24", 2027: "11-26"}


@pytest.mark.parametrize("year", HOLIDAYS)
def test_holidays_and_half_days_are_the_published_ones(year: int) -> None:
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(366)]
    weekdays = [day for day in days if day.year == year and day.weekday() < 5]
    assert [f"{day:%m-%d}" for day in weekdays if CALENDAR.on(day) is None] == HOLIDAYS[year].split()
    sessions = [session for day in weekdays if (session := CALENDAR.on(day))]
    early = [session for session in sessions if session.closes.time() != time(16)]
    assert [f"{session.day:%m-%d}" for session in early] == EARLY_CLOSES[year].split()
    assert {session.closes.time() for session in early} == {time(13)}
    assert {session.note for session in early} == {"early close"}
    assert {session.opens.time() for session in sessions} == {time(9, 30)}
    assert all(CALENDAR.on(day) is None for day in days if day.weekday() > 4)


@pytest.mark.parametrize(
    "day",
    [
        *("2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14"),  # attacks
        "2004-06-11",  # day of mourning for Ronald Reagan
        "2007-01-02",  # Gerald Ford
        *("2012-10-29", "2012-10-30"),  # hurricane Sandy
        "2018-12-05",  # George H. W. Bush
    ],
)
def test_unscheduled_closures_of_the_past(day: str) -> None:
    assert CALENDAR.on(date.fromisoformat(day)) is None


def test_a_session_keeps_its_local_time_when_daylight_saving_changes() -> None:
    # Sunday 2026-03-08 and Sunday 2026-11-01.
    hours = {
        str(day): CALENDAR.on(day).opens.astimezone(UTC).strftime("%H:%M")  # type: ignore[union-attr]
        for day in (date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2))
    }
    assert hours == {"2026-03-06": "14:30", "2026-03-09": "13:30", "2026-10-30": "13:30", "2026-11-02": "14:30"}


def test_a_moment_is_in_a_session_or_not() -> None:
    opens = datetime(2026, 11, 27, 9, 30, tzinfo=NEW_YORK)
    closes = datetime(2026, 11, 27, 13, 0, tzinfo=NEW_YORK)
    assert CALENDAR.at(opens - timedelta(seconds=1)) is None
    assert CALENDAR.at(opens.astimezone(UTC)) == CALENDAR.on(opens.date())
    assert CALENDAR.at(closes - timedelta(seconds=1)) is not None
    assert CALENDAR.at(closes) is None


def test_the_next_sessions_skip_what_is_closed() -> None:
    wednesday_evening = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)
    assert [str(session.day) for session in CALENDAR.following(wednesday_evening, 3)] == [
        "2026-11-27",
        "2026-11-30",
        "2026-12-01",
    ]
    before = wednesday_evening - timedelta(hours=1)
    assert CALENDAR.following(before, 1)[0].day == date(2026, 11, 25)
    assert CALENDAR.following(datetime(2028, 12, 29, 12, tzinfo=UTC), 5) == [CALENDAR.on(date(2028, 12, 29))]


def test_overrides() -> None:
    calendar = read_calendar(
        {
            "exchange": "XNYS",
            "closed": [date(2026, 12, 1)],
            "early_closes": {"2026-12-02": "12:30"},
            "extra_sessions": {"2026-12-05": "10:00-12:00", "2031-01-04": "10:00-12:00"},
        }
    )
    assert calendar.on(date(2026, 12, 1)) is None
    half = calendar.on(date(2026, 12, 2))
    assert half is not None
    assert (half.closes.time(), half.note) == (time(12, 30), "early close")
    extra = calendar.on(date(2026, 12, 5))
    assert extra is not None
    assert (extra.opens.time(), extra.note) == (time(10), "extra session")
    # What the settings say holds beyond the calendar's end as well.
    assert calendar.on(date(2031, 1, 4)) is not None


def test_the_end_of_the_calendar_is_an_error_with_a_remedy() -> None:
    with pytest.raises(CalendarEnded, match=r"2000-01-01 to .*, not 1999-12-31\. Update the collection"):
        CALENDAR.on(date(1999, 12, 31))
    with pytest.raises(CalendarEnded):
        CALENDAR.on(CALENDAR.last + timedelta(days=1))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"exchange": "NYSE"}, "exchange must be one of XNYS, not 'NYSE'"),
        ({"holidays": []}, "unknown option holidays; known are exchange, closed, early_closes, extra_sessions"),
        ({"closed": ["tomorrow"]}, "closed must be a date such as 2026-12-31 in quotes, not 'tomorrow'"),
        ({"early_closes": ["2026-12-02"]}, "early_closes must be a dictionary of dates"),
        # YAML reads 13:00 without quotes as 780.
        ({"early_closes": {"2026-12-02": 780}}, r"early_closes\[2026-12-02\] must be a time such as 13:00 in quotes"),
        ({"early_closes": {"2026-12-25": "13:00"}}, "2026-12-25 has no session that could close early"),
        ({"early_closes": {"2026-12-02": "16:00"}}, "must close between 09:30 and 16:00, not at 16:00"),
        ({"extra_sessions": {"2026-12-02": "09:30-13:00"}}, "2026-12-02 has a session already"),
        ({"extra_sessions": {"2026-12-05": "13:00-09:30"}}, "must be hours such as 09:30-13:00"),
        ({"extra_sessions": {"2026-12-05": "13:00"}}, "must be hours such as 09:30-13:00"),
        ({"closed": ["2026-12-02"], "early_closes": {"2026-12-02": "13:00"}}, "is in closed and in early_closes"),
        ({"early_closes": {"2031-01-03": "13:00"}}, "covers 2000-01-01"),
    ],
)
def test_wrong_overrides_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read_calendar(values)


def test_the_settings_have_the_calendars_options_exchanges_and_default() -> None:
    roles = Path(__file__).parents[4] / "roles"
    specs = yaml.safe_load((roles / "aws_environment/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
    options = specs["options"]["algo_calendar"]["options"]
    assert tuple(options) == OPTIONS
    assert (options["exchange"]["choices"], options["exchange"]["default"]) == (list(EXCHANGES), DEFAULT_EXCHANGE)
    guard = yaml.safe_load((roles / "aws_trading_server/defaults/main.yml").read_text())["aws_trading_server_calendar"]
    assert f"'exchange': '{DEFAULT_EXCHANGE}'" in guard
