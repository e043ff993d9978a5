# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker's own client, as it comes, against the server."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from alpaca.data.live import StockDataStream
from alpaca.data.models import Bar, Quote, Trade, TradeCancel, TradeCorrection, TradingStatus

from support import Server, StandIn, ended, wait_for

from .conftest import World


class Follower:
    """A StockDataStream on a thread, with all that it received, by kind."""

    def __init__(self, world: World, number: int = 0) -> None:
        self.got: dict[str, list[Any]] = defaultdict(list)
        self.stream = StockDataStream(f"key-{number}", f"secret-{number}", url_override=world.server.url)
        self._thread = threading.Thread(target=self.stream.run, daemon=True)

    def into(self, name: str) -> Any:
        async def handle(item: Any) -> None:
            self.got[name].append(item)

        return handle

    def start(self) -> Follower:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.stream.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()


def _ids(items: list[Any]) -> list[int]:
    return [item.id for item in items]


def test_every_kind_arrives_as_the_clients_own_types(world: World) -> None:
    follower = Follower(world)
    stream, into = follower.stream, follower.into
    stream.subscribe_trades(into("t"), "*")
    stream.register_trade_corrections(into("c"))
    stream.register_trade_cancels(into("x"))
    stream.subscribe_quotes(into("q"), "AAPL", "IBM")
    stream.subscribe_bars(into("b"), "*")
    stream.subscribe_updated_bars(into("u"), "*")
    stream.subscribe_daily_bars(into("d"), "*")
    stream.subscribe_trading_statuses(into("s"), "*")
    follower.start()
    wait_for(lambda: world.upstream.subscribed("statuses") == ["*"], "the subscription to reach upstream")

    wanted = {"t": Trade, "q": Quote, "b": Bar, "u": Bar, "d": Bar, "s": TradingStatus, "c": TradeCorrection}

    def all_there() -> bool:
        world.upstream.control("step", times=10)
        return (wanted.keys() | {"x"}) <= follower.got.keys()

    wait_for(all_there, "one of each kind")
    follower.stop()

    for kind, expected in (wanted | {"x": TradeCancel}).items():
        assert {type(item) for item in follower.got[kind]} == {expected}, kind
    assert {item.symbol for item in follower.got["q"]} == {"AAPL", "IBM"}
    made = world.upstream.state()["trades"]
    received = _ids(follower.got["t"])
    assert received == made[made.index(received[0]) :][: len(received)]
    assert {item.timestamp.tzinfo is not None for item in follower.got["t"]} == {True}


def test_two_clients_get_what_each_asked_for_and_a_change_is_followed(world: World) -> None:
    first, second = Follower(world, 0), Follower(world, 1)
    first.stream.subscribe_trades(first.into("t"), "AAPL")
    second.stream.subscribe_trades(second.into("t"), "MSFT")
    first.start()
    second.start()
    wait_for(lambda: world.upstream.subscribed("trades") == ["AAPL", "MSFT"], "both subscriptions")
    world.upstream.control("step", times=3)
    wait_for(lambda: len(first.got["t"]) == len(second.got["t"]) == 3, "three trades for each")

    first.stream.subscribe_trades(first.into("t"), "IBM")
    first.stream.unsubscribe_trades("AAPL")
    wait_for(lambda: world.upstream.subscribed("trades") == ["IBM", "MSFT"], "the change to reach upstream")
    world.upstream.control("step", times=2)
    wait_for(lambda: len(first.got["t"]) == len(second.got["t"]) == 5, "two more")
    first.stop()
    second.stop()

    assert [item.symbol for item in first.got["t"]] == ["AAPL"] * 3 + ["IBM"] * 2
    assert {item.symbol for item in second.got["t"]} == {"MSFT"}
    wait_for(lambda: world.upstream.subscribed("trades") == [], "upstream to be left alone")


def test_a_client_comes_back_by_itself_after_the_server_was_killed(tmp_path: Path) -> None:
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream)
        port = int(server.url.split(":")[2].split("/")[0])
        follower = Follower(World(upstream, server))
        follower.stream.subscribe_trades(follower.into("t"), "*")
        follower.start()
        with ended(server):
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription")
            upstream.control("step", times=2)
            wait_for(lambda: len(follower.got["t"]) == 10, "the first trades")
        again = Server(tmp_path, upstream, downstream={"port": port})
        with ended(again):
            wait_for(lambda: again.health()["clients"] == 1, "the client to be back")
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "its subscription")
            upstream.control("step", times=2)
            latest = upstream.state()["trades"][-1]
            wait_for(lambda: latest in _ids(follower.got["t"]), "the latest trade")
            follower.stop()
