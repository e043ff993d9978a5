# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings are checked at the door, all mistakes at once, with words that help."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import SettingsError
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings

BASE: dict[str, Any] = {"project": "algo-trading", "environment": "qa"}


def test_defaults_are_safe() -> None:
    settings = FleetSettings.from_dict(BASE)
    assert settings.max_terminate_share == 0.2
    assert settings.launch.root_volume.encrypted
    assert settings.power == "running"
    assert settings.on_change["version"] == "restart"
    assert settings.name_prefix == "algo-trading-trading-server-qa"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"project": None}, "project is required"),
        ({"environment": "QA"}, "environment must be lower-case"),
        ({"instance_typs": []}, "instance_typs is not a known setting; did you mean instance_types?"),
        ({"power": "on"}, "power must be one of running, keep, stopped, not 'on'"),
        ({"max_terminate_share": 2}, "max_terminate_share must be between 0 and 1"),
        ({"root_volume": {"size": "8"}}, "root_volume.size must be a number"),
        ({"root_volume": {"sice": 8}}, "root_volume.sice is not a known setting; did you mean size?"),
        ({"overrides": [{"image_id": "ami-1"}]}, "overrides[0] must name a type, symbol or model"),
        ({"tags": {"a b": "c"}}, "tags.a b: the key must not contain"),
        ({"tags": {"Model": "c"}}, "tags.Model is reserved for the fleet"),
        ({"session": {"open": "9", "close": "16:00"}}, "session: open and close must both be HH:MM"),
        ({"session": {"open": "09:30", "close": "16:00", "timezone": "Mars/Base"}}, "not a valid time zone"),
        ({"session": {"open": "09:30", "close": "09:30"}}, "session: open and close are both 09:30"),
        ({"session": {"open": "09:30"}}, "session.close is required"),
        ({"calendar": {"exchange": "NYSE"}}, "calendar: exchange must be one of XNYS, not 'NYSE'"),
        ({"max_terminate_share": float("nan")}, "max_terminate_share must be a number, not nan"),
        ({"wait_timeout": 1.5}, "wait_timeout must be an integer, not 1.5"),
        ({"once": {"power": "on"}}, "once.power must be one of running, keep, stopped"),
        (
            {"instance_types": ["t3.nano", "t4g.nano"]},
            "instance_types are of arm64 and x86_64; one image cannot run on",
        ),
        (
            {"instance_types": ["t3.nano"], "overrides": [{"symbol": "X", "instance_types": ["t4g.nano"]}]},
            "overrides[0].instance_types are of arm64 and instance_types of x86_64; set image_id in this override",
        ),
        ({"on_change": {"image": "restart"}}, "on_change.image must be one of replace, ignore"),
        ({"rate_limits": {"RunInstances": {"bucket": 0}}}, "rate_limits.RunInstances.bucket must be at least 1"),
        ({"rate_limits": {"RunInstance": {}}}, "did you mean RunInstances?"),
        ({"wait": "yes"}, "wait must be true or false"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError) as refused:
        FleetSettings.from_dict(BASE | changes)
    assert words in str(refused.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        FleetSettings.from_dict({"environment": "qa", "power": "on", "workers": 0})
    assert str(refused.value).count("; ") == 2


@pytest.mark.parametrize(
    ("session", "when", "open_"),
    [
        ({"open": "09:30", "close": "16:00"}, "2025-06-03T13:29:00+00:00", False),
        ({"open": "09:30", "close": "16:00"}, "2025-06-03T13:30:00+00:00", True),
        ({"open": "09:30", "close": "16:00"}, "2025-06-03T20:00:00+00:00", False),
        # Over midnight: Tuesday evening to Wednesday morning in New York.
        ({"open": "18:00", "close": "02:00"}, "2025-06-03T21:59:00+00:00", False),
        ({"open": "18:00", "close": "02:00"}, "2025-06-03T22:00:00+00:00", True),
        ({"open": "18:00", "close": "02:00"}, "2025-06-04T03:59:00+00:00", True),
        ({"open": "18:00", "close": "02:00"}, "2025-06-04T05:59:00+00:00", True),
        ({"open": "18:00", "close": "02:00"}, "2025-06-04T06:00:00+00:00", False),
        # Opened on Friday, it closes on Saturday morning; Saturday evening it does not open.
        ({"open": "18:00", "close": "02:00"}, "2025-06-07T05:00:00+00:00", True),
        ({"open": "18:00", "close": "02:00"}, "2025-06-07T23:00:00+00:00", False),
        # Nor is Monday's early morning a part of Sunday's.
        ({"open": "18:00", "close": "02:00"}, "2025-06-09T05:00:00+00:00", False),
        ({"open": "18:00", "close": "02:00", "days": ["sun"]}, "2025-06-09T05:00:00+00:00", True),
        ({"open": "18:00", "close": "00:00"}, "2025-06-04T03:59:00+00:00", True),
        ({"open": "18:00", "close": "00:00"}, "2025-06-04T04:00:00+00:00", False),
        # Winter time, and a Sunday.
        ({"open": "09:30", "close": "16:00"}, "2025-01-07T14:00:00+00:00", False),
        ({"open": "09:30", "close": "16:00"}, "2025-06-01T15:00:00+00:00", False),
        (
            {"open": "2025-06-03T09:30:00-04:00", "close": "2025-06-03T13:00:00-04:00"},
            "2025-06-03T16:59:00+00:00",
            True,
        ),
        (
            {"open": "2025-06-03T09:30:00-04:00", "close": "2025-06-03T13:00:00-04:00"},
            "2025-06-03T17:00:00+00:00",
            False,
        ),
    ],
)
def test_the_session_is_open_in_its_hours(session: dict[str, Any], when: str, open_: bool) -> None:
    settings = FleetSettings.from_dict(BASE | {"session": session})
    assert settings.session
    now = datetime.fromisoformat(when).astimezone(UTC)
    assert bool(settings.session.reason(now)) is open_


@pytest.mark.parametrize(
    ("calendar", "when", "reason"),
    [
        ({}, "2026-11-25T14:30:00+00:00", "the trading session is open until 16:00 America/New_York"),
        ({}, "2026-11-25T21:00:00+00:00", ""),
        # Thanksgiving, and the half day after it.
        ({}, "2026-11-26T15:00:00+00:00", ""),
        ({}, "2026-11-27T17:59:00+00:00", "the trading session is open until 13:00 America/New_York"),
        ({}, "2026-11-27T18:00:00+00:00", ""),
        ({"closed": ["2026-11-25"]}, "2026-11-25T14:30:00+00:00", ""),
        ({"extra_sessions": {"2026-11-28": "10:00-12:00"}}, "2026-11-28T15:00:00+00:00", "is open until 12:00"),
        # After the calendar's end: the usual hours of a weekday.
        ({}, "2035-01-03T15:00:00+00:00", "the trading session may be open: The XNYS calendar of this version covers"),
        ({}, "2035-01-03T22:00:00+00:00", ""),
        ({}, "2035-01-06T15:00:00+00:00", ""),
    ],
)
def test_the_session_follows_the_exchanges_calendar(calendar: dict[str, Any], when: str, reason: str) -> None:
    settings = FleetSettings.from_dict(BASE | {"calendar": {"exchange": "XNYS", **calendar}})
    assert settings.session
    told = settings.session.reason(datetime.fromisoformat(when))
    assert reason in told if reason else told == ""


def test_a_session_comes_before_the_calendar() -> None:
    settings = FleetSettings.from_dict(
        BASE | {"calendar": {"exchange": "XNYS"}, "session": {"open": "01:00", "close": "02:00"}}
    )
    assert settings.session
    assert settings.session.reason(datetime.fromisoformat("2026-11-25T14:30:00+00:00")) == ""


def test_what_holds_once_wins_for_this_run() -> None:
    lasting = {"max_terminate_share": 0.5, "power": "keep", "selection": {"symbols": ["X"]}}
    settings = FleetSettings.from_dict(BASE | lasting)
    assert (settings.max_terminate_share, settings.power, settings.selection.symbols) == (0.5, "keep", ("X",))
    assert not settings.force
    once = {"max_terminate_share": 0, "power": "running", "selection": {"types": ["a"]}, "force": True}
    settings = FleetSettings.from_dict(BASE | lasting | {"once": once})
    assert (settings.max_terminate_share, settings.power) == (0, "running")
    assert (settings.selection.types, settings.selection.symbols) == (("a",), ())
    assert settings.force
