# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exchange's calendar against the broker's: where they disagree, nothing starts and people are told."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, read_calendar
from ansible_collections.algo.trading.tests.unit.trading_day.conftest import AwsError, fleet_parameter
from trading_day import broker, events, fleet, report
from trading_day.settings import Settings

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

KEYS = {"key_id": "an-id", "secret_key": "a-secret"}
HALF = date(2026, 11, 27)


class Alpaca:
    """`GET /v2/calendar` over HTTP: the days it was given, and faults."""

    def __init__(self) -> None:
        self.days: dict[str, tuple[str, str]] = {}
        self.fails = 0
        self.asked: list[dict[str, str]] = []
        alpaca = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                alpaca.asked.append({"path": url.path, "key": str(self.headers["APCA-API-KEY-ID"]), **query})
                alpaca.fails -= 1
                self.send_response(500 if alpaca.fails >= 0 else 200)
                self.end_headers()
                found = [
                    {"date": day, "open": opens, "close": closes}
                    for day, (opens, closes) in alpaca.days.items()
                    if query["start"] <= day <= query["end"]
                ]
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_args: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def alpaca() -> Iterator[Alpaca]:
    running = Alpaca()
    yield running
    running.close()


class Secrets:
    def __init__(self, value: str | None) -> None:
        self._value = value

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        if self._value is None:
            raise AwsError("AccessDeniedException", "not authorized")
        return {"SecretString": self._value}


def doubt(alpaca: Alpaca, at: datetime, calendar: Calendar | None = None, secret: str | None = json.dumps(KEYS)) -> Any:
    configuration = {"broker": {"url": alpaca.url}, "broker_secret": "some-secret"}
    return broker.doubt(calendar or Calendar(), at, configuration, lambda: Secrets(secret))


def morning(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 14, tzinfo=UTC)


def test_calendars_that_agree_raise_no_doubt(alpaca: Alpaca) -> None:
    alpaca.days = {"2026-11-25": ("09:30", "16:00"), "2026-11-27": ("09:30", "13:00")}
    for day in (date(2026, 11, 25), date(2026, 11, 26), HALF, date(2026, 11, 28)):
        assert doubt(alpaca, morning(day)) == ("", "")
    assert alpaca.asked[0] == {"path": "/v2/calendar", "key": "an-id", "start": "2026-11-25", "end": "2026-11-25"}


@pytest.mark.parametrize(
    ("day", "theirs", "said"),
    [
        (date(2026, 11, 25), None, "XNYS of this version has 09:30 to 16:00, the broker no session"),
        (date(2026, 11, 25), ("09:30", "13:00"), "09:30 to 16:00, the broker 09:30 to 13:00"),
        (HALF, ("09:30", "16:00"), "09:30 to 13:00, the broker 09:30 to 16:00"),
        (date(2026, 11, 26), ("09:30", "16:00"), "no session, the broker 09:30 to 16:00"),
    ],
)
def test_a_difference_is_named_with_what_to_do(
    alpaca: Alpaca, day: date, theirs: tuple[str, str] | None, said: str
) -> None:
    alpaca.days = {str(day): theirs} if theirs else {}
    differs, unknown = doubt(alpaca, morning(day))
    assert said in differs
    assert "algo_calendar" in differs
    assert not unknown


def test_a_day_that_people_have_set_is_not_compared(alpaca: Alpaca) -> None:
    calendar = read_calendar({"closed": ["2026-11-25"], "early_closes": {"2026-11-30": "12:00"}})
    assert doubt(alpaca, morning(date(2026, 11, 25)), calendar) == ("", "")
    assert doubt(alpaca, morning(date(2026, 11, 30)), calendar) == ("", "")
    assert not alpaca.asked


@pytest.mark.parametrize("secret", ['{"key_id": "", "secret_key": ""}', "{}", "no json", "[]", '{"key_id": "x"}'])
def test_without_keys_nothing_is_compared(alpaca: Alpaca, secret: str) -> None:
    assert doubt(alpaca, morning(HALF), secret=secret) == ("", "")
    assert not alpaca.asked


def test_a_broker_that_fails_once_is_asked_again_and_one_that_is_away_is_no_doubt(alpaca: Alpaca) -> None:
    alpaca.days = {str(HALF): ("09:30", "13:00")}
    alpaca.fails = 1
    assert doubt(alpaca, morning(HALF)) == ("", "")
    alpaca.fails = 100
    differs, unknown = doubt(alpaca, morning(HALF))
    assert (differs, "cannot be read" in unknown) == ("", True)
    assert "a-secret" not in unknown
    assert "not authorized" in doubt(alpaca, morning(HALF), secret=None)[1]


def start(world: World, alpaca: Alpaca, **event: Any) -> dict[str, Any]:
    world.parameters["/algo-trading/qa/trading_server/fleet"] = fleet_parameter(
        halt_parameter="/algo-trading/qa/halt",
        source={"bucket": "models"},
        configuration={"broker": {"url": alpaca.url}, "broker_secret": "some-secret"},
    )
    env = {"PROJECT": "algo-trading", "ENVIRONMENT": "qa", "ALERT_TOPIC_ARN": "arn:topic"}
    settings = Settings.from_env("trading_server", env)
    request = events.parse(event, settings, (events.START,), events.START)
    aws = fleet.Aws(world, None, world, lambda: world, lambda: Secrets(json.dumps(KEYS)))
    return fleet.run(settings, request, aws, world.clock, report.Log(settings, world.log), 900)


def test_where_they_disagree_nothing_starts_and_people_are_told(world: World, alpaca: Alpaca) -> None:
    result = start(world, alpaca, scheduled_time=world.clock.now().replace(hour=20).isoformat())
    assert not result["ok"]
    assert "The calendars disagree about 2028-01-05" in result["reason"]
    assert "Calendars disagree, nothing started" in world.alerts[0]["Subject"]
    assert world.calls["DescribeInstances"] == 0


def test_a_session_that_only_the_broker_knows_is_told_too(world: World, alpaca: Alpaca) -> None:
    world.clock.seconds = timedelta(days=3).total_seconds()  # Saturday
    scheduled = world.clock.now().isoformat()
    assert start(world, alpaca, scheduled_time=scheduled)["ok"]
    assert not world.alerts
    alpaca.days = {"2028-01-08": ("09:30", "13:00")}
    assert not start(world, alpaca, scheduled_time=scheduled)["ok"]
    assert len(world.alerts) == 1
