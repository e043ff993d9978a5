# SPDX-License-Identifier: GPL-3.0-or-later
"""One server with several feeds: each path has its own upstream, and only that."""

from __future__ import annotations

import asyncio
import fcntl
import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from serving import Caller, calling
from support import PATHS, Server, StandIn, ended, get, wait_for

TRADE = {"T": "t", "x": "V", "p": 1.5, "s": 1, "c": ["@"], "z": "C", "t": "2026-11-23T14:30:00.123456789Z"}


NOT_SERVED = ("/v2/sip", "/v1beta3/crypto/us", "/v1beta1/news", "/nonsense", "/", "/v2/iex/x", "//[", "/v2/iexx")


def test_a_path_that_is_not_served_is_refused_at_the_handshake(tmp_path: Path) -> None:
    """With the paths that are; whoever asks for one feed must not get another."""
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream)
        with ended(server):

            async def run(path: str) -> None:
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(server.url.replace("/v2/iex", path)):
                        raise AssertionError(f"{path} was let in")
                assert refused.value.response.status_code == 404, path
                assert b"served are /v2/iex\n" in refused.value.response.body, path

            async def served() -> None:
                for path in ("/v2/iex", "/v2/iex/", "/v2/iex?x=1"):
                    async with calling(server.url.replace("/v2/iex", path), key="key-0", secret="secret-0"):
                        pass

            for path in NOT_SERVED:
                asyncio.run(run(path))
            assert server.health()["clients"] == 0
            asyncio.run(served())


def test_each_path_has_its_own_upstream(tmp_path: Path) -> None:
    iex, crypto = StandIn(), StandIn()
    with ended(iex, crypto):
        server = Server(tmp_path, {"iex": iex, "crypto": crypto})
        with ended(server):

            async def run() -> None:
                stocks, coins = server.urls["iex"], server.urls["crypto"]
                async with (
                    calling(stocks, key="key-0", secret="secret-0") as one,
                    calling(coins, key="key-0", secret="secret-0") as other,
                ):
                    assert "lulds" in await one.ask(action="subscribe", trades=["*"])
                    assert "lulds" not in await other.ask(action="subscribe", trades=["*"])
                    assert (await other.ask(action="subscribe", statuses=["*"]))["code"] == 410
                    for standin, path in ((iex, PATHS["iex"]), (crypto, PATHS["crypto"])):
                        await asyncio.to_thread(wait_for, partial(_all_trades, standin, path), "its subscription")
                    iex.control("send", messages=[{**TRADE, "S": "AAPL", "i": 1}])
                    crypto.control("send", messages=[{**TRADE, "S": "BTC/USD", "i": 2}], path=PATHS["crypto"])
                    assert [await _trades(one), await _trades(other)] == [["AAPL"], ["BTC/USD"]]

            asyncio.run(run())
            health = server.health()
            assert {name: feed["channels"]["trades"]["received"] for name, feed in health["feeds"].items()} == {
                "iex": 1,
                "crypto": 1,
            }
            assert health["status"] == "ok"
            assert {path.name for path in (tmp_path / "store").iterdir()} == {"iex", "crypto"}

            crypto.control("error", code=402)
            wait_for(lambda: server.health()["feeds"]["crypto"]["status"] == "failing", "the halt to be seen")
            health = server.health()
            assert health["status"] == "failing"
            assert all(reason.startswith("crypto: ") for reason in health["reasons"])
            assert health["feeds"]["iex"]["status"] == "ok"
            assert server.stop() == 0


def _all_trades(standin: StandIn, path: str) -> bool:
    return standin.subscribed("trades", path) == ["*"]


async def _trades(client: Caller) -> list[str]:
    return [item["S"] for item in await client.next()]


def test_a_feed_whose_store_is_not_to_be_had_keeps_no_other_from_running(tmp_path: Path) -> None:
    """One directory is locked by somebody, and one is a file."""
    standin = StandIn()
    store = tmp_path / "store"
    (store / "sip").mkdir(parents=True)
    (store / "crypto").write_text("")
    with ended(standin), (store / "sip" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = Server(tmp_path, dict.fromkeys(("sip", "crypto", "iex"), standin))
        with ended(server):
            wait_for(lambda: server.health()["feeds"]["iex"]["status"] == "ok", "the feed that can run")
            health = server.health()["feeds"]
            assert "cannot be opened" in health["crypto"]["alerts"]["store"]
            assert health["sip"]["feed"]["phase"] == "standby"
            fcntl.flock(lock, fcntl.LOCK_UN)
            (store / "crypto").unlink()
            wait_for(lambda: server.health()["status"] == "ok", "all to run")
            assert server.stop() == 0


class Account:
    """Messages of each feed, each with a number and with the time at which it is made."""

    OPTION = "AAPL261218C00172500"

    @staticmethod
    def message(feed: str, number: int) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        match feed:
            case "crypto":
                return {"T": "t", "S": "BTC/USD", "i": number, "p": 1.5, "s": 1, "tks": "B", "t": at}
            case "opra":  # whose trades have no number
                return {"T": "t", "S": Account.OPTION, "p": float(number), "s": 1, "x": "N", "c": "S", "t": at}
            case _:
                return {
                    "T": "n",
                    "id": number,
                    "headline": "",
                    "created_at": at,
                    "updated_at": at,
                    "symbols": ["A", "B"],
                }

    @staticmethod
    def fill(number: int) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        order = {"id": "one-order", "symbol": "AAPL", "side": "buy", "status": "partially_filled", "filled_qty": number}
        return {"event": "partial_fill", "timestamp": at, "price": "1.5", "qty": "1", "order": order}

    @staticmethod
    def number(item: dict[str, Any]) -> int:
        if "data" in item:
            return int(item["data"]["order"]["filled_qty"])
        return int(item.get("i") or item.get("id") or item["p"])


def test_each_feed_fetches_what_it_missed_from_its_own_history(tmp_path: Path) -> None:
    """And of orders fills only, which is said."""
    feeds = ("crypto", "opra", "news", "trade_updates")
    standin, account = StandIn(), Account()
    wanted = {"crypto": {"trades": ["BTC/USD"]}, "opra": {"trades": [Account.OPTION]}, "news": {"news": ["*"]}}

    def send(number: int, *, publish: bool = True) -> None:
        for feed in feeds[:3]:
            messages = [account.message(feed, number)]
            standin.control("send", messages=messages, path=PATHS[feed], publish=publish)
        standin.control("trade_update", data=account.fill(number), publish=publish)

    with ended(standin):
        server = Server(
            tmp_path,
            dict.fromkeys(feeds, standin),
            upstream={name: {"subscribe": asked} for name, asked in wanted.items()},
        )
        with ended(server):

            def received(count: int) -> bool:
                found = server.health()["feeds"].values()
                return [sum(each["received"] for each in feed["channels"].values()) for feed in found] == [count] * 4

            wait_for(lambda: server.health()["status"] == "ok", "all feeds to stream")
            wait_for(lambda: all(standin.subscribed(*each) for each in _subscriptions(wanted)), "subscriptions")
            wait_for(lambda: any(each["streams"] for each in standin.state()["trading"]), "the account's stream")
            send(1)
            wait_for(lambda: received(1), "the first of each")
            standin.control("refuse", status=503, times=1_000_000)
            standin.control("abort")
            standin.control("trading_abort")
            send(2, publish=False)
            send(3, publish=False)
            standin.control("refuse", status=503, times=0)

            gaps = {}
            for feed in feeds:
                page = f"{server.page}/status.json?feed={feed}"
                gaps[feed] = wait_for(partial(_settled, page), f"the gap of {feed}")
            assert {feed: gap["filled"] for feed, gap in gaps.items()} == {
                "crypto": True, "opra": True, "news": True, "trade_updates": False
            }  # fmt: skip
            assert "fills" in gaps["trade_updates"]["channels"]["trade_updates"]["result"]
            for feed in feeds:
                assert asyncio.run(_replayed(server.urls[feed], feed)) == [(1, False), (2, True), (3, True)], feed


def _subscriptions(wanted: dict[str, dict[str, list[str]]]) -> list[tuple[str, str]]:
    return [(channel, PATHS[feed]) for feed, channels in wanted.items() for channel in channels]


def _settled(page: str) -> dict[str, Any]:
    """The first gap that is."""
    return next((gap for gap in json.loads(get(page)[1])["gaps"] if gap["settled"]), {})


async def _replayed(url: str, feed: str) -> list[tuple[int, bool]]:
    """Everything of a feed that is stored: its number, and whether it was fetched afterwards."""
    async with connect(url) as socket:
        if feed != "trade_updates":
            await socket.recv()
            await socket.send(json.dumps({"action": "auth", "key": "key-0", "secret": "secret-0"}))
            asked: dict[str, Any] = {"action": "replay", "since": 0, "news" if feed == "news" else "trades": ["*"]}
        else:
            await socket.send(json.dumps({"action": "auth", "key": "key-0", "secret": "secret-0"}))
            asked = {"action": "replay", "data": {"since": 0}}
        await socket.recv()
        await socket.send(json.dumps(asked))
        found: list[tuple[int, bool]] = []
        while True:
            told = json.loads(await socket.recv())
            for item in told if isinstance(told, list) else [told]:
                if item.get("msg") == "replayed" or item.get("stream") == "replayed":
                    return found
                assert "T" not in item or feed != "trade_updates"
                found.append((Account.number(item), item.get("backfilled", False)))


def test_a_second_level_has_every_feed_of_the_first_and_asks_it_for_what_it_missed(tmp_path: Path) -> None:
    """The second is killed, messages come, and its next life has them from the first, once."""
    feeds = ("crypto", "news", "trade_updates")
    standin, account = StandIn(), Account()
    wanted = {"crypto": {"trades": ["BTC/USD"]}, "news": {"news": ["*"]}, "trade_updates": {"trade_updates": ["*"]}}

    def send(number: int) -> None:
        for feed in feeds[:2]:
            standin.control("send", messages=[account.message(feed, number)], path=PATHS[feed])
        standin.control("trade_update", data=account.fill(number))

    def everything(server: Server, count: int) -> bool:
        found = server.health()["feeds"].values()
        return [sum(each["received"] for each in feed["channels"].values()) for feed in found] == [count] * len(feeds)

    with ended(standin):
        first = Server(
            tmp_path / "1",
            dict.fromkeys(feeds, standin),
            upstream={name: {"subscribe": asked} for name, asked in wanted.items()},
        )
        with ended(first):
            below = {
                name: {"url": first.urls[name], "subscribe": asked, "backfill": {"source": "replay"}}
                for name, asked in wanted.items()
            }
            level = _Level(first)
            second = Server(tmp_path / "2", dict.fromkeys(feeds, level), upstream=below)  # type: ignore[arg-type]
            with ended(second):
                wait_for(lambda: second.health()["status"] == "ok", "the second level to stream")
                wait_for(lambda: all(standin.subscribed(*each) for each in _subscriptions(wanted)[:2]), "subscriptions")
                wait_for(lambda: _listeners(first) == 3, "the second level's subscriptions")
                send(1)
                wait_for(lambda: everything(second, 1), "the first of each")
                wait_for(lambda: _durable(second), "it to be stored")
                second.kill()
            send(2)
            send(3)
            wait_for(lambda: everything(first, 3), "the first level to have all")
            again = Server(tmp_path / "2", dict.fromkeys(feeds, level), upstream=below)  # type: ignore[arg-type]
            with ended(again):
                for feed in feeds:
                    gap = wait_for(partial(_settled, f"{again.page}/status.json?feed={feed}"), f"the gap of {feed}")
                    assert gap["filled"], (feed, gap)
                    assert asyncio.run(_replayed(again.urls[feed], feed)) == [(1, False), (2, True), (3, True)], feed


class _Level:
    """A server of ours, as the settings of another want it."""

    key, secret, rest = "key-1", "secret-1", "http://127.0.0.1:9"

    def __init__(self, server: Server) -> None:
        self.stream = server.url


def _listeners(server: Server) -> int:
    """Feeds of which somebody is subscribed to something."""
    pages = [json.loads(get(f"{server.page}/status.json?feed={feed}")[1]) for feed in server.urls]
    return sum(any(client["subscriptions"] for client in page["clients"]) for page in pages)


def _durable(server: Server) -> bool:
    stores = [json.loads(get(f"{server.page}/status.json?feed={feed}")[1])["store"] for feed in server.urls]
    return all(store["durable"] == store["sequence"] for store in stores)
