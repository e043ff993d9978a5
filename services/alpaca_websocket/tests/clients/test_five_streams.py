# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker's own five streams, as they come, each through one server with an upstream for each of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from alpaca.data.live import CryptoDataStream, NewsDataStream, OptionDataStream, StockDataStream
from alpaca.data.models import Bar, News, Orderbook, Quote, Trade
from alpaca.trading.models import TradeUpdate
from alpaca.trading.stream import TradingStream

from serving import calling
from support import PATHS, Server, StandIn, ended, get, wait_for

from .conftest import World

AT = "2026-11-23T14:30:00.123456789Z"
FEEDS = ("iex", "crypto", "opra", "news", "trade_updates")
OPTION = "AAPL261218C00172500"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path_factory.mktemp("server"), dict.fromkeys(FEEDS, upstream))
        with ended(server):
            wait_for(
                lambda: all(feed["feed"]["phase"] == "streaming" for feed in server.health()["feeds"].values()), "all"
            )
            yield World(upstream, server)
            assert server.stop() == 0


class Follower:
    """A stream of alpaca-py on a thread, with all that it received, by name."""

    def __init__(self, stream: Any) -> None:
        self.got: dict[str, list[Any]] = defaultdict(list)
        self.stream = stream
        self._thread = threading.Thread(target=stream.run, daemon=True)

    def into(self, name: str) -> Any:
        async def handle(item: Any) -> None:
            self.got[name].append(item)

        return handle

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()


def keys(number: int = 0) -> tuple[str, str]:
    return f"key-{number}", f"secret-{number}"


def sending(world: World, feed: str, *messages: dict[str, Any]) -> None:
    world.upstream.control("send", messages=list(messages), path=PATHS[feed])


def test_stocks(world: World) -> None:
    follower = Follower(StockDataStream(*keys(), url_override=world.server.urls["iex"]))
    follower.stream.subscribe_trades(follower.into("t"), "AAPL")
    with follower:
        wait_for(lambda: world.upstream.subscribed("trades") == ["AAPL"], "the subscription")
        world.upstream.control("step")
        wait_for(lambda: follower.got["t"], "a trade")
    assert type(follower.got["t"][0]) is Trade


def test_crypto(world: World) -> None:
    follower = Follower(CryptoDataStream(*keys(), url_override=world.server.urls["crypto"]))
    follower.stream.subscribe_trades(follower.into("t"), "BTC/USD")
    follower.stream.subscribe_quotes(follower.into("q"), "*")
    follower.stream.subscribe_bars(follower.into("b"), "BTC/USD")
    follower.stream.subscribe_orderbooks(follower.into("o"), "BTC/USD")
    with follower:
        wait_for(lambda: world.upstream.subscribed("orderbooks", PATHS["crypto"]) == ["BTC/USD"], "the subscription")
        sending(
            world, "crypto",
            {"T": "t", "S": "BTC/USD", "p": 71859.53, "s": 0.0001, "t": AT, "i": 8456218, "tks": "B"},
            {"T": "t", "S": "ETH/USD", "p": 1.0, "s": 1, "t": AT, "i": 1, "tks": "S"},
            {"T": "q", "S": "ETH/USD", "bp": 1.0, "bs": 2.0, "ap": 1.1, "as": 3.0, "t": AT},
            {"T": "b", "S": "BTC/USD", "o": 1, "h": 2, "l": 1, "c": 2, "v": 0.5, "n": 3, "vw": 1.5, "t": AT},
            {"T": "o", "S": "BTC/USD", "t": AT, "b": [{"p": 1.5, "s": 2}], "a": [{"p": 1.6, "s": 0}], "r": True},
        )  # fmt: skip
        wait_for(lambda: follower.got.keys() >= {"t", "q", "b", "o"}, "one of each kind")
    assert {name: [type(item) for item in items] for name, items in follower.got.items()} == {
        "t": [Trade], "q": [Quote], "b": [Bar], "o": [Orderbook]
    }  # fmt: skip
    book = follower.got["o"][0]
    assert (book.symbol, book.bids[0].price, book.asks[0].size, book.reset) == ("BTC/USD", 1.5, 0, True)


def test_options(world: World) -> None:
    """Alpaca sends them as msgpack only; the upstream is asked so without a word in the settings."""
    follower = Follower(OptionDataStream(*keys(), url_override=world.server.urls["opra"]))
    follower.stream.subscribe_trades(follower.into("t"), OPTION)
    follower.stream.subscribe_quotes(follower.into("q"), OPTION)
    with follower:
        wait_for(lambda: world.upstream.subscribed("quotes", PATHS["opra"]) == [OPTION], "the subscription")
        quote = {"bp": 2.8, "bs": 4, "bx": "A", "ap": 2.9, "as": 5, "ax": "W", "c": " "}
        sending(
            world, "opra",
            {"T": "t", "S": OPTION, "p": 2.84, "s": 1, "x": "N", "c": "S", "t": AT},
            {"T": "q", "S": OPTION, **quote, "t": AT},
        )  # fmt: skip
        wait_for(lambda: follower.got.keys() >= {"t", "q"}, "both")
    assert (follower.got["t"][0].symbol, follower.got["t"][0].conditions) == (OPTION, "S")
    assert follower.got["q"][0].ask_price == 2.9


def test_all_quotes_of_options_are_refused_to_the_client_and_not_asked_of_the_upstream(world: World) -> None:
    async def run() -> None:
        async with calling(world.server.urls["opra"], key="key-1", secret="secret-1") as client:
            assert (await client.ask(action="subscribe", quotes=["*"]))["code"] == 413
            assert (await client.ask(action="subscribe", bars=["AAPL"]))["code"] == 410
            assert await client.ask(action="subscribe", trades=["*"]) == {
                "T": "subscription", "trades": ["*"], "quotes": []
            }  # fmt: skip

    asyncio.run(run())


def article(number: int, *symbols: str) -> dict[str, Any]:
    return {
        "T": "n", "id": number, "headline": "Corsair Reports", "summary": "In short", "author": "B",
        "created_at": "2026-11-23T22:00:37Z", "updated_at": "2026-11-23T22:00:38Z", "url": "https://example.com/1",
        "content": "", "symbols": list(symbols), "source": "benzinga",
    }  # fmt: skip


def test_news_come_once_to_whoever_asked_for_one_of_their_symbols(world: World) -> None:
    all_of_it = Follower(NewsDataStream(*keys(), url_override=world.server.urls["news"]))
    all_of_it.stream.subscribe_news(all_of_it.into("n"), "*")
    two = Follower(NewsDataStream(*keys(1), url_override=world.server.urls["news"]))
    two.stream.subscribe_news(two.into("n"), "CRSR", "AAPL")
    with all_of_it, two:
        wait_for(lambda: world.upstream.subscribed("news", PATHS["news"]) == ["*"], "the subscription")
        wait_for(lambda: world.server.health()["feeds"]["news"]["clients"] == 2, "both")
        sending(world, "news", article(1, "CRSR", "AAPL"), article(2, "MSFT"), article(3), article(4, "AAPL", "IBM"))
        wait_for(lambda: len(all_of_it.got["n"]) == 4, "all of them")
        wait_for(lambda: {item.id for item in two.got["n"]} == {1, 4}, "those of two symbols")
    assert [item.id for item in all_of_it.got["n"]] == [1, 2, 3, 4]
    assert type(all_of_it.got["n"][0]) is News
    assert all_of_it.got["n"][0].symbols == ["CRSR", "AAPL"]


def fill(number: int, event: str = "fill", **order: Any) -> dict[str, Any]:
    """A trade update as Alpaca sends it."""
    made = {
        "id": f"61e69015-8549-4bfd-b9c3-{number:012d}", "client_order_id": f"mine-{number}",
        "created_at": AT, "updated_at": AT, "submitted_at": AT, "symbol": "AAPL", "asset_class": "us_equity",
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "qty": "100", "filled_qty": "100",
        "filled_avg_price": "179.08", "order_class": "", "order_type": "market", "type": "market", "side": "buy",
        "time_in_force": "day", "status": "filled", "extended_hours": False, "legs": None,
    } | order  # fmt: skip
    at = f"2026-11-23T20:38:{number % 60:02d}.314318Z"
    return {"event": event, "price": "179.08", "qty": "100", "position_qty": "100", "timestamp": at, "order": made}


def test_the_account_s_own_orders_come_to_several_clients_from_one_connection(world: World) -> None:
    followers = [
        Follower(TradingStream(*keys(number), url_override=world.server.urls["trade_updates"])) for number in (0, 1)
    ]
    for follower in followers:
        follower.stream.subscribe_trade_updates(follower.into("u"))
    with followers[0], followers[1]:
        wait_for(lambda: _listening(world) == 2, "both to listen")
        world.upstream.control("trade_update", data=fill(1, "new", status="new", filled_qty="0"))
        world.upstream.control("trade_update", data=fill(1))
        wait_for(lambda: all(len(follower.got["u"]) == 2 for follower in followers), "two updates each")
        assert len(world.upstream.state()["trading"]) == 1
    for follower in followers:
        assert [type(item) for item in follower.got["u"]] == [TradeUpdate] * 2
        assert [item.event for item in follower.got["u"]] == ["new", "fill"]
        assert follower.got["u"][1].order.client_order_id == "mine-1"
    health = world.server.health()["feeds"]["trade_updates"]
    assert health["channels"]["trade_updates"]["received"] >= 2


def _listening(world: World) -> int:
    clients = json.loads(get(f"{world.server.page}/status.json?feed=trade_updates")[1])["clients"]
    return sum(bool(client["subscriptions"]) for client in clients)
