# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hold keeps servers running after the close, is told to people, and ends by itself."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import HALT, HOLD, Order, changed
from ansible_collections.algo.trading.tests.unit.trading_day.conftest import EVENING, AwsError
from ansible_collections.algo.trading.tests.unit.trading_day.test_shutdown import outcomes, shut_down

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import Machine, World

FLAG = "/algo-trading/qa/halt"
WHO = "by the desk, 2028-01-05T20:00:00Z: looking"
UNTIL = EVENING + timedelta(hours=2)


def hold(world: World, *machines: Machine) -> None:
    order = Order(HOLD, WHO, models=tuple(machine.tags["Model"] for machine in machines), until=UNTIL)
    world.parameters[FLAG] = changed("false", order, EVENING)


def test_a_held_server_keeps_running_and_is_told(world: World) -> None:
    kept, other = world.add(2)
    hold(world, kept)
    result = shut_down(world)
    assert result["ok"]
    assert outcomes(result) == {kept.id: "held", other.id: "stopped"}
    assert (kept.state, kept.drains) == ("running", 0)
    assert "DrainAsked" not in kept.tags
    assert "Shutdown as ordered: 1 held, 1 stopped" in world.alerts[0]["Subject"]
    assert f"{kept.id}): keeps running, hold of model" in world.alerts[0]["Message"]
    assert WHO in world.alerts[0]["Message"]


def test_a_hold_runs_out_by_itself(world: World) -> None:
    (kept,) = world.add(1)
    hold(world, kept)
    world.clock.seconds = timedelta(hours=2, minutes=1).total_seconds()
    assert shut_down(world)["reason"] == "1 stopped"
    assert kept.state == "stopping"
    assert not world.alerts


def test_a_dry_run_tells_the_hold(world: World) -> None:
    kept, other = world.add(2)
    hold(world, kept)
    assert outcomes(shut_down(world, {"dry_run": True})) == {kept.id: "held", other.id: "planned"}


def test_a_hold_of_everything_keeps_all_also_those_that_appear(world: World) -> None:
    world.add(3)
    hold(world)
    assert shut_down(world)["reason"] == "3 held"
    assert world.calls["SendCommand"] == 0


def test_who_names_a_model_means_it_whatever_was_held(world: World) -> None:
    (kept,) = world.add(1)
    hold(world, kept)
    assert outcomes(shut_down(world, {"models": [kept.tags["Model"]]})) == {kept.id: "stopped"}


def test_a_halt_holds_nobody(world: World) -> None:
    world.add(2)
    world.parameters[FLAG] = changed("false", Order(HALT, WHO), EVENING)
    assert shut_down(world)["reason"] == "2 stopped"


@pytest.mark.parametrize("code", ["AccessDeniedException", "InternalServerError"])
def test_orders_that_can_not_be_read_hold_nobody_and_that_is_told(world: World, code: str) -> None:
    world.add(1)
    real = world.get_parameter

    def denied(Name: str) -> dict[str, object]:
        if Name == FLAG:
            raise AwsError(code, "not now")
        return real(Name)

    world.get_parameter = denied  # type: ignore[method-assign]
    result = shut_down(world)
    assert not result["ok"]
    assert world.states() == {"stopping": 1}
    assert "No server was held, because the orders are not known" in world.alerts[0]["Message"]


def test_without_the_parameter_nobody_is_held(world: World) -> None:
    world.add(1)
    del world.parameters[FLAG]
    assert shut_down(world)["ok"]
