# SPDX-License-Identifier: GPL-3.0-or-later
"""One server with several feeds: each path has its own upstream, and only that."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from serving import Caller, calling
from support import PATHS, Server, StandIn, ended, wait_for

TRADE = {"T": "t", "x": "V", "p": 1.5, "s": 1, "c": ["@"], "z": "C", "t": "2026-11-23T14:30:00.123456789Z"}


@pytest.mark.parametrize("path", ["/v2/sip", "/v1beta3/crypto/us", "/v1beta1/news", "/nonsense", "/", "/v2/iex/x"])
def test_a_path_that_is_not_served_is_refused_at_the_handshake(tmp_path: Path, path: str) -> None:
    """With the paths that are; whoever asks for one feed must not get another."""
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream)
        with ended(server):

            async def run() -> None:
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(server.url.replace("/v2/iex", path)):
                        raise AssertionError("it was let in")
                assert refused.value.response.status_code == 404
                assert b"/v2/iex" in refused.value.response.body

            asyncio.run(run())
            assert server.health()["clients"] == 0


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
