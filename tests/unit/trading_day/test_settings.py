# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the functions accept as their environment, and what as an event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from trading_day import events
from trading_day.settings import OnDrainFailure, Settings, ShutdownSettings

ENV = {"PROJECT": "algo-trading", "ENVIRONMENT": "qa"}
SETTINGS = Settings.from_env("trading_server_shutdown", ENV)
NOW = datetime(2030, 1, 2, 21, 15, tzinfo=UTC)


def test_names_follow_from_project_and_environment() -> None:
    settings = ShutdownSettings.from_env("x", {**ENV, "ALERT_TOPIC_ARN": "arn"})
    assert settings.drain_document == "algo-trading-trading-server-qa-drain"
    assert settings.parameter("halt") == "/algo-trading/qa/halt"
    assert settings.on_drain_failure is OnDrainFailure.KEEP
    assert settings.tags("trading_server")["Component"] == "trading_server"


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        ShutdownSettings.from_env("x", {"ENVIRONMENT": "Q A", "DRAIN_TIMEOUT": "soon", "ON_DRAIN_FAILURE": "maybe"})
    for name in ("PROJECT", "ENVIRONMENT", "DRAIN_TIMEOUT", "ON_DRAIN_FAILURE", "ALERT_TOPIC_ARN"):
        assert name in str(caught.value)


def test_an_empty_event_means_the_only_action() -> None:
    assert events.parse({}, SETTINGS, (events.STOP,), events.STOP) == events.Request("stop")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ({"Records": []}, "unknown keys: Records"),
        ({"action": "explode"}, "action must be stop"),
        ({"action": None}, "action must be stop"),
        ({"environment": "prod"}, "is for the environment 'prod'"),
        ({"dry_run": "yes"}, "dry_run must be true or false"),
        ({"scheduled_time": "soon"}, "scheduled_time must be"),
        ({"scheduled_time": 5}, "scheduled_time must be"),
        ({"scheduled_time": "2030-01-02T21:15:00"}, "needs an offset"),
    ],
)
def test_an_event_that_is_not_for_us_is_refused(event: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        events.parse(event, SETTINGS, (events.STOP,), events.STOP)


@pytest.mark.parametrize(
    ("age", "why"),
    [
        (timedelta(0), None),
        (timedelta(minutes=59), None),
        (timedelta(minutes=61), "s ago"),
        (timedelta(minutes=-4), None),
        (timedelta(minutes=-6), "not due until"),
    ],
)
def test_an_event_has_its_time(age: timedelta, why: str | None) -> None:
    said = events.Request("stop", scheduled=NOW - age).why_not(NOW, 3600)
    assert said is None if why is None else why in str(said)


def test_the_schedulers_own_time_format_is_understood() -> None:
    request = events.parse({"scheduled_time": "2030-01-02T21:15:00Z"}, SETTINGS, (events.STOP,), events.STOP)
    assert request.scheduled == NOW
