# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The agenda of the next sessions; the rules themselves are tested with the functions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar
from ansible_collections.algo.trading.plugins.module_utils.trading_day import agenda

SETTINGS = {
    "algo_schedules": True,
    "algo_timezone": "America/New_York",
    "aws_alpaca_websocket_start_schedule": "cron(45 8 ? * * *)",
    "aws_trading_server_schedule": "cron(0 9 ? * * *)",
    "aws_trading_server_check_schedule": "cron(20 9 ? * * *)",
    "aws_trading_server_shutdown_early_schedule": "cron(10 13 ? * * *)",
    "aws_trading_server_shutdown_schedule": "cron(10 16 ? * * *)",
    "aws_alpaca_websocket_stop_schedule": "cron(45 16 ? * * *)",
}
WEDNESDAY = datetime(2026, 11, 25, 22, 0, tzinfo=UTC)


def events(settings: dict[str, Any], count: int = 1, now: datetime = WEDNESDAY) -> list[list[str]]:
    found = agenda(Calendar(), {**SETTINGS, **settings}, now, count)
    return [[f"{event['time']} {event['what']}" for event in entry["events"]] for entry in found]


def test_the_next_sessions_skip_thanksgiving_and_know_the_half_day() -> None:
    friday, monday = agenda(Calendar(), SETTINGS, WEDNESDAY, 2)
    assert (friday["day"], friday["opens"], friday["closes"], friday["note"]) == (
        "Fri 2026-11-27",
        "09:30",
        "13:00",
        "early close",
    )
    assert (monday["day"], monday["note"]) == ("Mon 2026-11-30", "")


def test_the_early_shutdown_acts_on_a_half_day_only() -> None:
    friday, monday = events({}, 2)
    assert friday == [
        "08:45 the market-data server starts",
        "09:00 the trading servers start",
        "09:20 the start is checked",
        "13:10 the trading servers shut down",
        "16:10 the trading servers shut down",
        "16:45 the market-data server stops",
    ]
    assert monday == [line for line in friday if not line.startswith("13:10")]


def test_days_of_the_week_and_zones() -> None:
    # Tokyo is 14 hours ahead: what fires there on Saturday at 6:00 is Friday afternoon in New York.
    tokyo = {"algo_timezone": "Asia/Tokyo", "aws_trading_server_shutdown_schedule": "cron(10 6 ? * SAT *)"}
    assert "16:10 the trading servers shut down" in events(tokyo)[0]
    weekdays = {"aws_trading_server_schedule": "cron(0 9 ? * TUE-THU,SAT *)"}
    assert not any("trading servers start" in line for line in events(weekdays)[0])


def test_an_expression_that_is_not_plain_is_shown_as_it_is() -> None:
    odd = {"aws_trading_server_schedule": "cron(0/30 9 ? * * *)"}
    assert "cron(0/30 9 ? * * *) the trading servers start" in events(odd)[0]


def test_without_schedules_nothing_happens_by_itself() -> None:
    assert events({"algo_schedules": False}) == [[]]
    assert "the trading servers start" not in " ".join(events({"aws_trading_server_schedule": ""})[0])
