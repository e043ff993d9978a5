"""`algo-trader` as a process, with the real alpaca-py, the real market-data server and the stand-in for the broker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("alpaca", reason="the trading code needs alpaca-py")

from floor import Desk, Floor, wait


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
    made = Desk(floor, floor.broker(), tmp_path / "desk", floor.symbol())
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
    assert (shown["model"], shown["version"], shown["positions"]) == (desk.name, "v1", 1)
    assert (shown["orders"], shown["fills"], shown["average_price"]) == (2, 2, 100.0)
    assert shown["profit_and_loss"] == {"realized": 3.0, "unrealized": 27.0, "total": 30.0, "today": 30.0}
    code, text = desk.ask("status")
    assert code == 0
    assert f"position:  9 {desk.symbol} at 100, now 103" in text
    assert "WATCHDOG=1" in desk.told

    code, text = desk.ask("drain")
    assert (code, desk.end()) == (0, 0)
    assert text == f"{desk.name}: drained; 0 {desk.symbol} held, 0 orders open\n"
    assert desk.health["state"] == "drained"
    assert desk.broker["positions"] == {}
    numbers = [order["client_order_id"].removeprefix(f"local:{desk.name}:") for order in desk.broker["orders"]]
    assert numbers == ["1", "2", "3"]
    assert json.loads((desk.root / "state" / "state.json").read_text())["position"] == 0
    assert desk.ask("drain")[0] == 0
    assert len(desk.broker["orders"]) == 3
    assert desk.ask("status")[0] == 1


def test_a_halt_opens_nothing_and_lets_close_and_cancel(desk: Desk) -> None:
    assert desk.ask("halt") == (0, "")
    desk.start()
    desk.rises()
    desk.until(state="halted", target=10, position=0.0)
    assert desk.broker["orders"] == []
    assert desk.ask("status", "--json")[0] == 0

    desk.fault("partial", share=0)
    assert desk.ask("resume") == (0, "")
    desk.until(state="trading", open_orders=1)
    assert desk.ask("halt") == (0, "")
    desk.until(state="halted", open_orders=0)
    assert [order["status"] for order in desk.broker["orders"]] == ["canceled"]

    assert desk.ask("resume") == (0, "")
    desk.until(state="trading", position=10.0)
    assert desk.ask("halt") == (0, "")
    desk.until(state="halted", position=10.0)
    desk.price(99)
    desk.until(state="halted", position=0.0, open_orders=0)


def test_a_drain_that_the_broker_does_not_confirm_ends_with_1_and_says_why(desk: Desk) -> None:
    desk.config |= {"drain_seconds": 3, "flatten_on_drain": False}
    desk.fault("partial", share=0.3)
    desk.fault("hold_cancels", on=True)
    desk.start()
    desk.rises()
    desk.until(position=3.0, open_orders=1)
    code, text = desk.ask("drain")
    assert (code, desk.end()) == (1, 1)
    order = f"order local:{desk.name}:1 (pending_cancel)"
    why = f"not drained within 3 s: the broker has not confirmed that {order} is cancelled"
    assert text == f"{desk.name}: {why}; 3 {desk.symbol} held, 1 orders open\n"
    assert desk.health["state"] == "draining"
    assert desk.health["reason"] == why
    assert desk.ask("status")[0] == 1

    desk.config["drain_seconds"] = 60
    desk.process = desk.command("run")  # as a supervisor would: it goes on with the drain and does not trade
    desk.rises(101)
    wait(lambda: (desk.root / "log").read_text().count('"draining"') == 2, "a second drain")
    desk.fault("hold_cancels", on=False)
    assert desk.end() == 0
    assert desk.health["state"] == "drained"
    assert desk.health["position"] == 3
    assert len(desk.broker["orders"]) == 1


def test_killed_and_with_lost_answers_it_keeps_its_position_and_orders_nothing_twice(desk: Desk) -> None:
    desk.fault("drop", of="POST /v2/orders", when="before")
    desk.fault("drop", of="POST /v2/orders", when="after")
    desk.fault("partial", share=0.5)
    desk.start()
    desk.rises()
    desk.until(position=5.0, open_orders=1)
    desk.kill()
    desk.fault("fill_rest")  # while nobody looks
    desk.start()
    desk.until(state="trading", position=10.0, open_orders=0)
    desk.kill()
    (desk.root / "state" / "state.json").unlink()  # a new host
    desk.start()
    desk.until(state="trading", position=10.0)
    assert [(order["client_order_id"], order["filled_qty"]) for order in desk.broker["orders"]] == [
        (f"local:{desk.name}:1", "10")
    ]
    # Without a process the command drains by itself.
    desk.kill()
    assert desk.ask("drain")[0] == 0
    assert desk.broker["positions"] == {}


def test_the_daily_loss_limit_closes_and_stops_for_the_day(desk: Desk) -> None:
    desk.config["limits"]["max_daily_loss"] = 20
    desk.start()
    desk.rises()
    desk.until(position=10.0)
    desk.fault("price", symbol=desk.symbol, price=97)
    desk.bars(96, 97)  # the model would hold on
    health = desk.until(state="halted", position=0.0, open_orders=0)
    assert health["reason"].startswith("max_daily_loss is reached on ")
    assert health["profit_and_loss"]["today"] == -30
    desk.kill()
    desk.start()  # a restart is no way around it
    desk.bars(96, 98)
    desk.until(state="halted", price=98.0, position=0.0)
    assert len(desk.broker["orders"]) == 2


def test_models_of_one_account_leave_each_other_alone(desk: Desk, tmp_path: Path) -> None:
    broker = {"control": desk.control, "rest": desk.config["broker"]["url"]}
    other = Desk(desk.floor, broker, tmp_path / "b", desk.symbol, inner=10)
    try:
        desk.start()
        other.start()
        desk.rises()
        desk.until(position=10.0)
        other.until(position=10.0)
        assert desk.ask("drain")[0] == 0
        assert desk.broker["positions"] == {desk.symbol: "10"}
        other.price(99.5)
        other.until(price=99.5, position=0.0)  # the model's own decision
        assert desk.broker["positions"] == {}
    finally:
        other.close()


def test_what_cannot_be_explained_is_not_traded(desk: Desk, floor: Floor) -> None:
    desk.start()
    desk.rises()
    desk.until(position=10.0)
    desk.kill()
    desk.config["broker"]["url"] = floor.broker()["rest"]  # another account's keys look like this
    desk.process = desk.command("run")
    assert desk.end() == 1
    assert desk.health["state"] == "refused"
    assert f"the broker does not know order local:{desk.name}:1" in desk.health["reason"]


def test_a_model_or_configuration_that_cannot_be_used_is_refused(desk: Desk) -> None:
    def refused() -> str:
        desk.process = desk.command("run")
        assert desk.end() == 78
        return str(json.loads((desk.root / "log").read_text().splitlines()[-1])["reason"])

    (desk.model / "model.json").write_text("{}")
    assert "model.json is not the file that the manifest names" in refused()
    assert desk.health["state"] == "refused"
    assert "model.json is not the file" in desk.health["reason"]
    desk.config["model"]["path"] += "-gone"
    assert refused().startswith("There is no model at ")
    desk.config["broker"]["paper"] = False
    assert refused() == "broker.paper must be true in local; only prod trades with real money"
    assert desk.broker["requests"] == []
