# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Halts and holds: for whom they are, how long they last, and that no order is lost or invented."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.algo.trading.plugins.module_utils import trading_orders
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import (
    HALT,
    HOLD,
    MAX_BYTES,
    RESUME,
    Order,
    OrderError,
    changed,
    moment,
    read_orders,
)

NOW = datetime(2026, 11, 25, 15, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
WHO = "by the desk, 2026-11-25T15:00:00Z: a reason"
AAPL, MSFT = "momentum/AAPL/sma-outer_0_inner_0", "reversion/MSFT/rsi-outer_1_inner_2"


def given(*orders: Order, value: str = "false") -> str:
    for order in orders:
        value = changed(value, order, NOW)
    return value


@pytest.mark.parametrize("scope", [{"models": (AAPL,)}, {"symbols": ("AAPL",)}, {"types": ("momentum",)}])
def test_a_halt_of_some_halts_these_and_no_others(scope: dict[str, Any]) -> None:
    orders = read_orders(given(Order(HALT, WHO, **scope)))
    assert orders.everything_halted(NOW) == ""
    assert WHO in orders.halted(AAPL, NOW)
    assert orders.halted(MSFT, NOW) == ""
    # Whoever does not know its model is on the safe side.
    assert orders.halted("", NOW)
    assert orders.held(AAPL, NOW) == ""


def test_a_name_that_only_begins_alike_is_another() -> None:
    orders = read_orders(given(Order(HALT, WHO, symbols=("AA",)), Order(HALT, WHO, types=("mom",))))
    assert orders.halted(AAPL, NOW) == ""


def test_an_order_ends_when_it_says_and_not_otherwise() -> None:
    orders = read_orders(given(Order(HALT, WHO, symbols=("AAPL",), until=LATER), Order(HALT, WHO, types=("x",))))
    assert orders.halted(AAPL, LATER - timedelta(seconds=1))
    assert orders.halted(AAPL, LATER) == ""
    assert orders.halted("x/A/b", LATER + timedelta(days=1000))
    everything = read_orders(given(Order(HALT, WHO, until=LATER)))
    assert everything.everything_halted(NOW)
    assert everything.everything_halted(LATER) == ""


def test_a_halt_of_everything_is_written_as_a_person_would() -> None:
    assert given(Order(HALT, WHO)) == f"halted {WHO}"
    assert given(Order(HALT, WHO), Order(HALT, WHO + " again")) == f"halted {WHO} again"
    assert given(Order(HALT, WHO), Order(RESUME, WHO)) == f"false (resumed {WHO})"


def test_orders_add_up_and_are_taken_back_one_by_one() -> None:
    one, two = Order(HALT, WHO, symbols=("AAPL",)), Order(HOLD, WHO, models=(MSFT,), until=LATER)
    value = given(one, two, Order(HALT, WHO))
    orders = read_orders(value)
    assert orders.everything_halted(NOW)
    assert len(orders.in_force(NOW)) == 3
    value = changed(value, Order(RESUME, WHO, symbols=("AAPL",)), NOW)
    assert read_orders(value).halted(AAPL, NOW) == ""
    assert read_orders(value).everything_halted(NOW)
    with pytest.raises(OrderError, match=r"no order for exactly these. In force: .*hold of model reversion/MSFT"):
        changed(value, Order(RESUME, WHO, symbols=("AAPL",)), NOW)
    assert changed(value, Order(RESUME, WHO), NOW).startswith("false (resumed by the desk")


def test_what_a_person_wrote_by_hand_stays_a_halt_of_everything() -> None:
    value = changed("2030-01-02 exchange down", Order(HALT, WHO, symbols=("AAPL",)), NOW)
    assert "2030-01-02 exchange down" in read_orders(value).everything_halted(NOW)
    value = changed(value, Order(HOLD, WHO, until=LATER), NOW)
    assert "2030-01-02 exchange down" in read_orders(value).everything_halted(NOW)


def test_what_has_run_out_goes_with_the_next_order() -> None:
    value = given(Order(HALT, WHO, symbols=("AAPL",), until=LATER))
    value = changed(value, Order(HALT, WHO, symbols=("MSFT",)), LATER)
    assert [entry["symbols"] for entry in json.loads(value)["orders"]] == [["MSFT"]]


@pytest.mark.parametrize(
    "entry",
    [
        1,
        {"do": "halt"},
        {"do": "stop", "record": "x"},
        {"do": "halt", "record": "x", "models": []},
        {"do": "halt", "record": "x", "models": "AAPL"},
        {"do": "halt", "record": "x", "symbol": ["AAPL"]},
        {"do": "halt", "record": "x", "until": "tomorrow"},
        {"do": "halt", "record": "x", "until": "2026-11-25T18:00:00"},
        # A hold without an end would keep servers running for ever.
        {"do": "hold", "record": "x"},
    ],
)
def test_a_list_that_nobody_can_read_halts_everything(entry: Any) -> None:
    assert read_orders(json.dumps({"orders": [entry]})).everything_halted(NOW)


@pytest.mark.parametrize("value", ["{", '{"orders": 1}', '{"last": "x"}', '{"orders": [], "more": 1}', "[]", "null"])
def test_other_forms_halt_everything(value: str) -> None:
    assert read_orders(value).everything_halted(NOW)


def test_an_end_that_has_passed_and_too_many_orders_are_refused() -> None:
    with pytest.raises(OrderError, match="is not in the future"):
        given(Order(HALT, WHO, until=NOW))
    with pytest.raises(OrderError, match=f"the parameter holds {MAX_BYTES}"):
        given(Order(HALT, WHO, models=tuple(f"momentum/S{n}/sma-outer_0_inner_0" for n in range(200))))


NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("18:00", "2026-11-25T18:00:00-05:00"),
        ("2026-07-01T18:00", "2026-07-01T18:00:00-04:00"),
        ("2026-11-25T18:00:00Z", "2026-11-25T18:00:00+00:00"),
    ],
)
def test_a_time_is_the_exchanges_unless_it_says_otherwise(text: str, meant: str) -> None:
    assert moment(text, NEW_YORK, NOW).isoformat() == meant


@pytest.mark.parametrize("text", ["18", "6pm", "2026-12-24", "25:00", "2026-03-08T02:30"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(OrderError):
        moment(text, NEW_YORK, NOW)


def test_today_is_the_exchanges_day() -> None:
    # 20:30 in New York on the 25th is the 26th in UTC.
    assert moment("21:00", NEW_YORK, datetime(2026, 11, 26, 1, 30, tzinfo=UTC)).date().day == 25


class Ssm:
    """A parameter with its history; somebody else may write between a reading and a writing."""

    def __init__(self, value: str) -> None:
        self.values = [value]
        self.between: list[str] = []

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        number = int(Name.partition(":")[2] or len(self.values))
        return {"Parameter": {"Value": self.values[number - 1], "Version": number}}

    def put_parameter(self, *, Name: str, Value: str, **_given: Any) -> dict[str, Any]:
        if self.between:
            self.values.append(self.between.pop(0))
        self.values.append(Value)
        return {"Version": len(self.values)}


def test_two_who_write_in_the_same_moment_lose_neither_order() -> None:
    ssm = Ssm("false")
    ssm.between = [
        given(Order(HALT, "by another")),
        given(Order(HALT, "by another"), Order(HOLD, "by a third", until=LATER)),
    ]
    before = trading_orders.read(ssm, "/p/e/halt")
    trading_orders.give(ssm, "/p/e/halt", before, Order(HALT, WHO, symbols=("AAPL",)), NOW)
    last = read_orders(ssm.values[-1])
    assert "by another" in last.everything_halted(NOW)
    assert "by a third" in last.held(MSFT, NOW)
    assert WHO in last.halted(AAPL, NOW)


def test_a_missing_parameter_is_a_halt_that_stays() -> None:
    class Missing(Exception):
        response = {"Error": {"Code": "ParameterNotFound"}}  # noqa: RUF012

    class Nothing(Ssm):
        def get_parameter(self, *, Name: str) -> dict[str, Any]:
            raise Missing

    ssm = Nothing("")
    ssm.values.clear()
    before = trading_orders.read(ssm, "/p/e/halt")
    value = trading_orders.give(ssm, "/p/e/halt", before, Order(HALT, WHO, symbols=("AAPL",)), NOW)
    assert "the flag was missing" in read_orders(value).everything_halted(NOW)
