"""`algo-trader` as a process, with the real alpaca-py, the real market-data server and the stand-in for the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("alpaca", reason="the trading code needs alpaca-py")

from floor import NAME, Desk, Floor


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    made = Floor(tmp_path_factory.mktemp("floor"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def desk(floor: Floor, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(floor, floor.broker(), tmp_path / "desk")
    yield made
    made.close()


def test_trades_shows_its_numbers_and_drains(desk: Desk) -> None:
    desk.start()
    desk.rises()
    desk.until(state="trading", position=10.0, open_orders=0)
    desk.price(103)
    desk.until(price=103.0, position=9.0)  # what exceeds max_position is sold
    code, output = desk.ask("status", "--json")
    shown = json.loads(output)
    assert code == 0
    assert (shown["model"], shown["version"], shown["positions"]) == (NAME, "v1", 1)
    assert (shown["orders"], shown["fills"], shown["average_price"]) == (2, 2, 100.0)
    assert shown["profit_and_loss"] == {"realized": 3.0, "unrealized": 27.0, "total": 30.0, "today": 30.0}
    code, text = desk.ask("status")
    assert code == 0
    assert "position:  9 AAPL at 100, now 103" in text
    assert desk.told().startswith("WATCHDOG=1")

    code, text = desk.ask("drain")
    assert (code, desk.end()) == (0, 0)
    assert text == f"{NAME}: drained; 0 AAPL held, 0 orders open\n"
    assert desk.health["state"] == "drained"
    assert desk.broker["positions"] == {}
    assert [order["client_order_id"] for order in desk.broker["orders"]] == [f"local:{NAME}:{n}" for n in (1, 2, 3)]
    assert json.loads((desk.root / "state" / "state.json").read_text())["position"] == 0
    assert desk.ask("drain")[0] == 0
    assert len(desk.broker["orders"]) == 3
    assert desk.ask("status")[0] == 1
