"""The stand-in for Alpaca's trading API, asked by the real alpaca-py: orders, positions, calendar, trade updates."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("alpaca", reason="the tests ask with alpaca-py")

from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce, TradeEvent
from alpaca.trading.requests import GetCalendarRequest, GetOrdersRequest, LimitOrderRequest, MarketOrderRequest
from alpaca.trading.stream import TradingStream
from floor import PATIENCE, ROOT, SERVICE, post, private, wait

KEY, SECRET = "stand-in", "not-a-secret"
BUY, SELL = OrderSide.BUY, OrderSide.SELL
_symbols = (f"S{number}" for number in itertools.count(1))


class Broker:
    """One process of the stand-in."""

    def __init__(self, *arguments: str) -> None:
        sys.path[:0] = [str(SERVICE / "tests")]
        import lifeline

        command = [str(ROOT / "tools" / "paper_broker"), *arguments]
        self.process = lifeline.spawn(*command, stdout=subprocess.PIPE)
        assert self.process.stdout
        told: dict[str, str] = json.loads(self.process.stdout.readline())
        self.rest, self.stream, self.control = told["rest"], told["stream"], told["control"]
        self.told = told
        self.client: Any = TradingClient(KEY, SECRET, paper=True, url_override=self.rest)

    def fault(self, name: str, **asked: Any) -> None:
        post(self.control, name, **asked)

    def price(self, symbol: str, value: float) -> None:
        self.fault("price", symbol=symbol, price=value)

    def market(self, symbol: str, qty: float, side: OrderSide = BUY, **more: Any) -> Any:
        return self.client.submit_order(
            MarketOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force=TimeInForce.DAY, **more)
        )

    def limit(self, symbol: str, qty: float, price: float, side: OrderSide = BUY) -> Any:
        return self.client.submit_order(
            LimitOrderRequest(symbol=symbol, qty=qty, side=side, time_in_force=TimeInForce.DAY, limit_price=price)
        )

    def until(self, order: Any, status: str) -> Any:
        """The order, once it has this status."""

        def reached() -> Any:
            found = self.client.get_order_by_id(order.id)
            return found if found.status.value == status else None

        return wait(reached, f"{order.symbol} {status}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.end()


@pytest.fixture
def symbol(broker: Broker) -> str:
    """A stock at 100 that no other test trades."""
    name = next(_symbols)
    broker.price(name, 100)
    return name


@pytest.fixture
def updates(broker: Broker) -> Iterator[queue.Queue[Any]]:
    """What the account's own stream tells, from now on."""
    heard: queue.Queue[Any] = queue.Queue()
    stream: Any = TradingStream(KEY, SECRET, paper=True, url_override=broker.stream)

    async def hear(update: Any) -> None:
        heard.put(update)

    stream.subscribe_trade_updates(hear)
    thread = threading.Thread(target=stream.run, daemon=True)
    thread.start()
    wait(lambda: any(one["streams"] for one in state(broker)["streams"]), "the stream")
    yield heard
    stream.stop()
    broker.fault("stream_abort")  # it looks whether it shall stop when something comes, or every five seconds
    thread.join(PATIENCE)


def state(broker: Broker) -> dict[str, Any]:
    import urllib.request

    with urllib.request.urlopen(f"{broker.control}/state", timeout=PATIENCE) as answer:  # noqa: S310  # on loopback
        return dict(json.load(answer))


def refusal(error: pytest.ExceptionInfo[APIError]) -> tuple[int, int]:
    return error.value.status_code, error.value.code


def test_a_market_order_is_filled_at_the_last_price_and_counts_in_account_and_positions(
    broker: Broker, symbol: str
) -> None:
    before = broker.client.get_account()
    order = broker.market(symbol, 5)
    assert order.status.value == "pending_new"
    filled = broker.until(order, "filled")
    assert (filled.filled_qty, filled.filled_avg_price, filled.filled_at is not None) == ("5", "100", True)
    broker.price(symbol, 103)
    position = broker.client.get_open_position(symbol)
    assert (position.qty, position.avg_entry_price, position.unrealized_pl) == ("5", "100", "15")
    assert symbol in {each.symbol for each in broker.client.get_all_positions()}
    after = broker.client.get_account()
    assert float(after.cash) == float(before.cash) - 500
    assert float(after.equity) == float(before.equity) + 15
    broker.until(broker.market(symbol, 5, SELL), "filled")
    with pytest.raises(APIError) as error:
        broker.client.get_open_position(symbol)
    assert refusal(error) == (404, 40410000)


def test_a_limit_order_waits_for_its_price_and_can_be_cancelled_until_then(broker: Broker, symbol: str) -> None:
    order = broker.limit(symbol, 2, 99)
    broker.until(order, "new")
    broker.price(symbol, 98.5)
    assert broker.until(order, "filled").filled_avg_price == "98.5"
    with pytest.raises(APIError) as error:
        broker.client.cancel_order_by_id(order.id)
    assert refusal(error) == (422, 42210000)
    waiting = broker.limit(symbol, 1, 50)
    broker.client.cancel_order_by_id(waiting.id)
    assert broker.until(waiting, "canceled").canceled_at is not None
    asked = GetOrdersRequest(status=QueryOrderStatus.ALL, symbols=[symbol], limit=1)
    assert [each.id for each in broker.client.get_orders(asked)] == [waiting.id]  # the newest first
    assert broker.client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, symbols=[symbol])) == []


def test_the_stream_tells_of_every_step_of_an_order(broker: Broker, symbol: str, updates: queue.Queue[Any]) -> None:
    broker.fault("partial", share=0.5)
    order = broker.market(symbol, 10)
    broker.until(order, "partially_filled")
    broker.price(symbol, 104)
    broker.fault("fill_rest")
    heard = [updates.get(timeout=PATIENCE) for _ in range(3)]
    assert [update.event for update in heard] == [TradeEvent.NEW, TradeEvent.PARTIAL_FILL, TradeEvent.FILL]
    assert [(update.qty, update.price, update.position_qty) for update in heard[1:]] == [(5, 100, 5), (5, 104, 10)]
    assert {update.order.id for update in heard} == {order.id}
    assert broker.client.get_order_by_id(order.id).filled_avg_price == "102"
    broker.client.cancel_order_by_id(broker.limit(symbol, 1, 50).id)
    heard = [updates.get(timeout=PATIENCE) for _ in range(3)]
    assert [update.event for update in heard] == ["new", "pending_cancel", "canceled"]
    broker.fault("reject_late")
    broker.market(symbol, 1)
    assert updates.get(timeout=PATIENCE).event == TradeEvent.REJECTED


def test_the_stream_comes_back_after_a_lost_connection(broker: Broker, symbol: str, updates: queue.Queue[Any]) -> None:
    broker.fault("stream_abort")
    wait(lambda: any(one["streams"] for one in state(broker)["streams"]), "the stream again")
    broker.market(symbol, 1)
    assert updates.get(timeout=PATIENCE).event == TradeEvent.NEW


def test_other_keys_are_refused_by_rest_and_stream(broker: Broker) -> None:
    with pytest.raises(APIError) as error:
        TradingClient(KEY, "wrong", paper=True, url_override=broker.rest).get_account()
    assert error.value.status_code == 401
    stream: Any = TradingStream(KEY, "wrong", paper=True, url_override=broker.stream)

    async def connect() -> None:
        await stream._connect()
        try:
            await stream._auth()
        finally:
            await stream._ws.close()

    import asyncio

    with pytest.raises(ValueError, match="failed to authenticate"):
        asyncio.run(connect())


def test_what_alpaca_refuses_is_refused_with_its_codes(broker: Broker, symbol: str) -> None:
    order = broker.until(broker.market(symbol, 4, client_order_id=f"first {symbol}"), "filled")
    assert broker.client.get_order_by_client_id(f"first {symbol}").id == order.id
    refused: list[tuple[Callable[[], Any], int, int]] = [
        (lambda: broker.market(symbol, 1, client_order_id=f"first {symbol}"), 422, 40010001),
        (lambda: broker.market(symbol, 5, SELL), 403, 40310000),  # would cross zero
        (lambda: broker.market(symbol, 1_000_000), 403, 40310000),
        (lambda: broker.limit(symbol, 1.5, 90), 422, 42210000),
        (lambda: broker.client.get_order_by_client_id("nobody's"), 404, 40410000),
    ]
    for attempt, status, code in refused:
        with pytest.raises(APIError) as error:
            attempt()
        assert refusal(error) == (status, code)
    broker.limit(symbol, 1, 110, SELL)
    with pytest.raises(APIError, match="wash trade"):
        broker.market(symbol, 1)
    short = next(_symbols)
    broker.price(short, 10)
    broker.until(broker.market(short, 3, SELL), "filled")
    assert (broker.client.get_open_position(short).side.value, state(broker)["positions"][short]) == ("short", "-3")


def test_faults_come_when_asked_and_go_by_themselves(broker: Broker, symbol: str) -> None:
    hasty: Any = TradingClient(KEY, SECRET, paper=True, url_override=broker.rest)
    hasty._retry = 0
    broker.fault("http_error", status=429)
    with pytest.raises(APIError) as error:
        hasty.get_account()
    assert error.value.status_code == 429
    hasty.get_account()
    broker.fault("drop", of="POST /v2/orders", when="after")
    with pytest.raises(Exception, match=r"(?i)connection"):
        broker.market(symbol, 1, client_order_id=f"lost {symbol}")
    assert broker.client.get_order_by_client_id(f"lost {symbol}").qty == "1"
    broker.fault("reject", message="asset is not tradable")
    with pytest.raises(APIError, match="not tradable"):
        broker.market(symbol, 1)
    broker.fault("hold_cancels", on=True)
    order = broker.limit(symbol, 1, 50)
    broker.client.cancel_order_by_id(order.id)
    broker.until(order, "pending_cancel")
    broker.fault("clear")
    broker.until(order, "canceled")


def test_a_closed_market_keeps_orders_for_its_opening(broker: Broker, symbol: str) -> None:
    assert broker.client.get_clock().is_open
    broker.fault("market", open=False)
    assert not broker.client.get_clock().is_open
    order = broker.market(symbol, 1)
    broker.until(order, "accepted")
    broker.fault("market", open=True)
    broker.until(order, "filled")


def test_clock_and_calendar_are_the_exchanges() -> None:
    broker = Broker("--market", "exchange")
    try:
        days = broker.client.get_calendar(GetCalendarRequest(start=date(2026, 11, 25), end=date(2026, 11, 30)))
        assert [(day.date.day, day.close.hour) for day in days] == [(25, 16), (27, 13), (30, 16)]
        clock = broker.client.get_clock()
        assert clock.next_open > clock.timestamp
        opens = broker.client.get_calendar(GetCalendarRequest(start=clock.next_open.date(), end=clock.next_open.date()))
        assert [(day.open.hour, day.open.minute) for day in opens] == [(9, 30)]
        assert clock.is_open == (clock.next_close < clock.next_open)
    finally:
        broker.end()


def test_the_account_survives_a_restart_and_its_keys_are_not_shown(tmp_path: Path) -> None:
    private(tmp_path / "keys.json", json.dumps({"key_id": KEY, "secret_key": SECRET}))
    kept = ("--keys", str(tmp_path / "keys.json"), "--state", str(tmp_path / "account.json"))
    broker = Broker(*kept, "--price", "AAPL=100")
    began = datetime.now(UTC)
    assert SECRET not in str(broker.told)
    filled = broker.until(broker.market("AAPL", 3), "filled")
    waiting = broker.limit("AAPL", 1, 90)
    broker.until(waiting, "new")
    stopped = broker.limit("AAPL", 1, 80)
    broker.fault("hold_cancels", on=True)
    broker.client.cancel_order_by_id(stopped.id)
    broker.until(stopped, "pending_cancel")
    cash = broker.client.get_account().cash
    broker.end()

    again = Broker(*kept)
    try:
        assert again.client.get_order_by_id(filled.id) == filled
        assert (again.client.get_account().cash, again.client.get_open_position("AAPL").qty) == (cash, "3")
        again.until(stopped, "canceled")
        again.price("AAPL", 89)
        assert again.until(waiting, "filled").filled_at > began
        fills = again.client.get("/account/activities/FILL")
        assert [(fill["qty"], fill["price"]) for fill in fills] == [("3", "100"), ("1", "89")]
    finally:
        again.end()
