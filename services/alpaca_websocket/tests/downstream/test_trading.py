# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's trading protocol as a server: every request, right and wrong, and what is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from alpaca_websocket import trading
from alpaca_websocket.downstream import auth
from alpaca_websocket.protocol import ProtocolError, split
from serving import PATIENCE, Serving, eventually, serving

AUTHORIZED = {"stream": "authorization", "data": {"status": "authorized", "action": "authenticate"}}
LISTEN = {"action": "listen", "data": {"streams": ["trade_updates"]}}
LISTENING = {"stream": "listening", "data": {"streams": ["trade_updates"]}}
NOT_LISTENING: dict[str, Any] = {"stream": "listening", "data": {"streams": []}}
# With the spaces of somebody else's encoder: what is passed on is byte for byte what came.
FILL = (
    b'{"stream": "trade_updates", "data": {"event": "fill", "timestamp": "2026-11-23T20:38:22.314318Z", '
    b'"order": {"id": "7b", "symbol": "AAPL", "filled_qty": "1"}, "new": 1}}'
)


class Account:
    """A client of the trading protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def ask(self, request: dict[str, Any] | bytes) -> dict[str, Any]:
        await self.socket.send(request if isinstance(request, bytes) else json.dumps(request))
        return dict(json.loads(await self.next()))

    async def next(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            frame = await self.socket.recv()
        assert isinstance(frame, bytes)  # binary, as Alpaca sends
        return frame


@contextlib.asynccontextmanager
async def account(server: Serving, **options: Any) -> AsyncIterator[Account]:
    async with connect(server.url, open_timeout=PATIENCE, **options) as socket:
        yield Account(socket)


def publish(server: Serving, *payloads: bytes) -> None:
    server.publish(*split(trading_frame(*payloads)).data)


def trading_frame(*payloads: bytes) -> bytes:
    return b"[%b]" % b",".join(trading.from_upstream(payload)[1:-1] for payload in payloads)


@pytest.mark.parametrize(
    "request_",
    [
        {"action": "auth", "key": "me", "secret": "x"},
        {"action": "authenticate", "data": {"key_id": "me", "secret_key": "x"}},
    ],
    ids=["today's form", "alpaca-py's"],
)
def test_both_forms_of_authentication_and_an_update_byte_for_byte(tmp_path: Path, request_: dict[str, Any]) -> None:
    async def run() -> None:
        async with serving(tmp_path, path="/stream") as server, account(server) as client:
            assert await client.ask(request_) == AUTHORIZED
            assert await client.ask(LISTEN) == LISTENING
            publish(server, FILL, FILL.replace(b"7b", b"8c"))
            assert [await client.next(), await client.next()] == [FILL, FILL.replace(b"7b", b"8c")]

    asyncio.run(run())


def test_listen_tells_the_whole_and_unknown_streams_are_left_out(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, path="/stream") as server, account(server) as client:
            await client.ask({"action": "auth", "key": "me", "secret": "x"})
            assert await client.ask({"action": "listen", "data": {"streams": ["account_updates"]}}) == NOT_LISTENING
            both = {"action": "listen", "data": {"streams": ["trade_updates", "account_updates"]}}
            assert await client.ask(both) == LISTENING
            assert await client.ask({"action": "listen", "data": {"streams": []}}) == NOT_LISTENING
            publish(server, FILL)
            assert await client.ask(LISTEN) == LISTENING  # and nothing of what came meanwhile

    asyncio.run(run())


def test_who_is_not_known_learns_nothing(tmp_path: Path) -> None:
    _given, table = auth.make("somebody")

    async def run() -> None:
        async with serving(tmp_path, path="/stream", tokens=table) as server:
            async with account(server) as client:
                told = await client.ask(LISTEN)
                assert (told["stream"], told["data"]["status"], told["data"]["action"]) == (
                    "authorization", "unauthorized", "listen"
                )  # fmt: skip
                told = await client.ask({"action": "auth", "key": "me", "secret": "wrong"})
                assert (told["data"]["status"], told["data"]["code"]) == ("unauthorized", 402)
                await client.socket.wait_closed()
            await eventually(lambda: not server.state.clients, "it to be gone")

    asyncio.run(run())


def test_a_token_for_market_data_does_not_show_the_account_s_orders(tmp_path: Path) -> None:
    """Unless it says so."""

    async def run(channels: str) -> dict[str, Any]:
        given, table = auth.make("somebody")
        key, secret = (line.split()[1] for line in given.splitlines())
        async with serving(tmp_path, path="/stream", tokens=table + channels) as server, account(server) as client:
            assert await client.ask({"action": "auth", "key": key, "secret": secret}) == AUTHORIZED
            return await client.ask(LISTEN)

    assert asyncio.run(run("")) == NOT_LISTENING
    assert asyncio.run(run('channels = ["trade_updates"]\nsymbols = 1\n')) == LISTENING


@pytest.mark.parametrize(
    "asked", [b"", b"[]", b"\xff", b'{"action":5}', b'{"action":"listen","data":{"streams":"all"}}', b'{"action":"x"}']
)
def test_what_is_no_request_is_an_error_and_the_next_one_is_answered(tmp_path: Path, asked: bytes) -> None:
    async def run() -> None:
        async with serving(tmp_path, path="/stream") as server, account(server) as client:
            await client.ask({"action": "auth", "key": "me", "secret": "x"})
            told = await client.ask(asked)
            assert told["action"] == "error"
            assert "invalid" in told["data"]["error_message"]
            assert await client.ask(LISTEN) == LISTENING

    asyncio.run(run())


def test_msgpack_for_who_asks_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        packed = {"Content-Type": "application/msgpack"}
        async with serving(tmp_path, path="/stream") as server, account(server, additional_headers=packed) as client:
            for request, answer in (
                ({"action": "auth", "key": "me", "secret": "x"}, AUTHORIZED),
                (LISTEN, LISTENING),
            ):
                await client.socket.send(msgspec.msgpack.encode(request))
                assert msgspec.msgpack.decode(await client.next()) == answer
            publish(server, FILL)
            assert msgspec.msgpack.decode(await client.next()) == json.loads(FILL)

    asyncio.run(run())


def test_what_was_missed_is_replayed_and_live_updates_follow(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True, path="/stream") as server, account(server) as client:
            publish(server, FILL)
            await client.ask({"action": "auth", "key": "me", "secret": "x"})
            await client.ask(LISTEN)
            await client.socket.send(json.dumps({"action": "replay", "data": {"since": 0}}))
            assert await client.next() == FILL
            assert json.loads(await client.next()) == {"stream": "replayed", "data": {"through": server.head}}
            publish(server, FILL.replace(b"7b", b"8c"))
            assert await client.next() == FILL.replace(b"7b", b"8c")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"stream": "authorization", "data": {"status": "unauthorized", "action": "authenticate"}}, 402),
        ({"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}}, 401),
        ({"stream": "authorization", "data": {"status": "unauthorized", "action": "authenticate", "code": 406}}, 406),
        ({"action": "error", "data": {"error_message": "internal"}}, 500),
    ],
)
def test_errors_of_the_upstream_have_the_codes_of_market_data(told: dict[str, Any], expected: int) -> None:
    [item] = json.loads(trading.from_upstream(json.dumps(told).encode()))
    assert (item["T"], item["code"]) == ("error", expected)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{}", b'{"stream":"x"}', b'{"stream":"trade_updates","data":5}', b"\xff"]
)
def test_what_is_not_of_the_protocol_is_none(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        trading.from_upstream(payload)


@pytest.mark.parametrize("symbol", ["AAPL", "BTC/USD", 'a"b\\', "", None])
def test_an_update_survives_being_kept(symbol: str | None) -> None:
    """An order of several legs has no symbol."""
    order = {"order": {"symbol": symbol}, "event": "new", "timestamp": "2026-11-23T20:38:22Z"}
    payload = json.dumps({"stream": "trade_updates", "data": order}).encode()
    frame = split(trading.from_upstream(payload))
    assert (len(frame.data), frame.malformed) == (1, 0)
    [message] = frame.data
    assert message.symbol == (symbol or "")
    assert trading.update(message.raw) == payload
