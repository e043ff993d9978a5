# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ingestion is started and stopped, and what can't be is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from trading_day import events, ingestion, report
from trading_day.hosts import Host
from trading_day.settings import Settings

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

SETTINGS = Settings.from_env(
    "alpaca_websocket", {"PROJECT": "algo-trading", "ENVIRONMENT": "qa", "ALERT_TOPIC_ARN": "arn:topic"}
)


def run(world: World, action: str, **event: Any) -> dict[str, Any]:
    request = events.parse({"action": action, **event}, SETTINGS, (events.START, events.STOP))
    return ingestion.run(SETTINGS, request, world, lambda: world, world.clock, report.Log(SETTINGS, world.log))


def add(world: World, state: str) -> Any:
    (host,) = world.add(1, state=state)
    host.tags["Component"] = "alpaca_websocket"
    return host


@pytest.mark.parametrize(
    ("action", "state", "does"),
    [
        ("start", "stopped", "start"),
        ("start", "stopping", "wait"),
        ("start", "running", "leave"),
        ("start", "pending", "leave"),
        ("stop", "running", "stop"),
        ("stop", "pending", "stop"),
        ("stop", "stopping", "leave"),
        ("stop", "stopped", "leave"),
    ],
)
def test_a_decision_has_its_reason(action: str, state: str, does: str) -> None:
    decided, why = ingestion.decide(action, Host("i-1", state))
    assert decided == does
    assert state in why or state == "stopping"


def test_a_day_begins_and_ends_and_repeats_nothing(world: World) -> None:
    host = add(world, "stopped")
    world.add(1, state="stopped")  # a trading server, not ours to start
    assert run(world, "start", dry_run=True)["hosts"][0]["action"] == "start"
    assert host.state == "stopped"
    assert run(world, "start")["ok"]
    assert host.state == "pending"
    run(world, "start")
    run(world, "stop")
    run(world, "stop")
    assert host.state == "stopping"
    assert world.calls == {"DescribeInstances": 5, "StartInstances": 1, "StopInstances": 1}


def test_a_host_that_is_still_stopping_is_left_to_the_next_try(world: World) -> None:
    host = add(world, "stopping")
    with pytest.raises(ingestion.IngestionFailed, match="still stopping"):
        run(world, "start")
    assert host.id in world.alerts[0]["Message"]


def test_starting_nothing_is_a_failure_and_stopping_nothing_is_not(world: World) -> None:
    assert run(world, "stop")["ok"]
    with pytest.raises(ingestion.IngestionFailed, match="no ingestion host"):
        run(world, "start")
