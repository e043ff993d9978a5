# SPDX-License-Identifier: GPL-3.0-or-later
"""The `websockets` library against the server: JSON, msgpack, compression, fragments, many at once."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import ClientConnection, connect

from support import PATIENCE, get, wait_for

from .conftest import World


async def _receive(connection: ClientConnection) -> list[dict[str, Any]]:
    frame = await asyncio.wait_for(connection.recv(), PATIENCE)
    found = json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
    assert isinstance(found, list)
    return found


async def _ask(connection: ClientConnection, **asked: Any) -> dict[str, Any]:
    """Sends a request; returns the first control message after it."""
    await connection.send(json.dumps(asked))
    while True:
        for item in await _receive(connection):
            if item["T"] in ("success", "error", "subscription"):
                return item


async def _join(connection: ClientConnection, number: int = 0, **channels: list[str]) -> dict[str, Any]:
    assert (await _receive(connection)) == [{"T": "success", "msg": "connected"}]
    answer = await _ask(connection, action="auth", key=f"key-{number}", secret=f"secret-{number}")
    assert answer == {"T": "success", "msg": "authenticated"}
    return await _ask(connection, action="subscribe", **channels)


async def _until(connection: ClientConnection, kind: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += [item for item in await _receive(connection) if item["T"] == kind]
    return found


def _step(world: World, times: int = 1) -> None:
    world.upstream.control("step", times=times)


@pytest.mark.parametrize("compression", ["deflate", None])
def test_a_message_arrives_with_all_its_fields(world: World, compression: str | None) -> None:
    odd = {
        "T": "t",
        "S": "ODD",
        "i": 7,
        "p": 1.50,
        "t": "2024-01-02T15:00:00.123456789Z",
        "ä": ["\U0001f600", {"n": None}],
    }

    async def run() -> None:
        async with connect(world.server.url, compression=compression) as connection:
            await _join(connection, trades=["ODD"])
            assert [type(each).__name__ for each in connection.protocol.extensions] == (
                ["PerMessageDeflate"] if compression else []
            )
            await asyncio.to_thread(
                wait_for, lambda: "ODD" in world.upstream.subscribed("trades"), "it to reach upstream"
            )
            world.upstream.control("send", messages=[odd])
            assert await _until(connection, "t", 1) == [odd]

    asyncio.run(run())


def test_msgpack_is_spoken_to_who_asks_for_it_with_nanoseconds(world: World) -> None:
    async def run() -> None:
        headers = {"Content-Type": "application/msgpack"}
        async with connect(world.server.url, additional_headers=headers) as connection:
            assert (await _receive(connection)) == [{"T": "success", "msg": "connected"}]
            for asked in (
                {"action": "auth", "key": "key-1", "secret": "secret-1"},
                {"action": "subscribe", "bars": ["PACK"]},
            ):
                await connection.send(msgpack.packb(asked))
                [answer] = await _receive(connection)
                assert answer["T"] in ("success", "subscription")
            await asyncio.to_thread(wait_for, lambda: world.upstream.subscribed("bars") == ["PACK"], "upstream")
            bar = {"T": "b", "S": "PACK", "o": 1.5, "v": 10**12, "t": "2024-01-02T15:00:00.000000001Z"}
            world.upstream.control("send", messages=[bar])
            [item] = await _until(connection, "b", 1)
            assert item.pop("t").to_unix_nano() == 1_704_207_600_000_000_001
            assert item == {name: value for name, value in bar.items() if name != "t"}

    asyncio.run(run())


def test_invalid_utf_8_from_upstream_is_replaced_counted_and_harms_no_connection(world: World) -> None:
    async def run() -> None:
        async with connect(world.server.url) as connection:
            await _join(connection, trades=["ODD8"])
            await asyncio.to_thread(wait_for, lambda: "ODD8" in world.upstream.subscribed("trades"), "upstream")
            for raw in (
                b'[{"T":"t","S":"ODD8","i":1,"x":"\xff\xfe"},{"T":"t","S":"ODD8","i":2,"x":"\xc3\xa4"}]',
                b'[{"T":"t","S":"ODD8","x":"\xe2","i":3}]',
            ):
                world.upstream.control("raw", base64=base64.b64encode(raw).decode())
            found = await _until(connection, "t", 3)
            assert [(item["i"], item["x"]) for item in found] == [(1, "\ufffd\ufffd"), (2, "ä"), (3, "\ufffd")]

    asyncio.run(run())
    assert 'alpaca_websocket_repaired_total{feed="iex"} 2.0' in get(f"{world.server.page}/metrics")[1]
    assert any("invalid UTF-8" in event["text"] for event in world.server.status()["events"])


def test_a_request_in_pieces_is_understood(world: World) -> None:
    async def run() -> None:
        async with connect(world.server.url) as connection:
            await _receive(connection)
            text = json.dumps({"action": "auth", "key": "key-0", "secret": "secret-0"})
            await connection.send([text[:3], "", text[3:20], text[20:], ""])
            assert await _receive(connection) == [{"T": "success", "msg": "authenticated"}]

    asyncio.run(run())


def test_each_of_many_gets_exactly_its_own(world: World) -> None:
    symbols = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]

    async def follow(number: int) -> list[dict[str, Any]]:
        mine = [symbols[number % 5], symbols[number % 3]] if number else ["*"]
        async with connect(world.server.url) as connection:
            await _join(connection, number % 3, trades=mine)
            joined.append(number)
            await started.wait()
            wanted = 4 * (5 if number == 0 else len(set(mine)))
            found = await _until(connection, "t", wanted)
            assert {item["S"] for item in found} == set(symbols if number == 0 else mine)
            return found

    async def run() -> None:
        tasks = [asyncio.create_task(follow(number)) for number in range(20)]
        while len(joined) < 20:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(wait_for, lambda: "*" in world.upstream.subscribed("trades"), "upstream to know")
        before = len(world.upstream.state()["trades"])
        started.set()
        await asyncio.to_thread(_step, world, 4)
        results = await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        made = world.upstream.state()["trades"][before:]
        assert [item["i"] for item in results[0]] == made
        for found in results[1:]:
            ids = [item["i"] for item in found]
            assert len(set(ids)) == len(ids)
            assert ids == [each for each in made if each in set(ids)]

    joined: list[int] = []
    started = asyncio.Event()
    asyncio.run(run())


def test_what_is_wrong_is_answered_with_the_published_codes(world: World) -> None:
    async def run() -> None:
        async with connect(world.server.url) as connection:
            await _receive(connection)
            assert (await _ask(connection, action="subscribe", trades=["AAPL"]))["code"] == 401
            await connection.send("{")
            assert (await _receive(connection))[0]["code"] == 400
            assert (await _ask(connection, action="auth", key="key-0", secret="secret-0"))["T"] == "success"
            assert (await _ask(connection, action="auth", key="key-0", secret="secret-0"))["code"] == 403
            assert (await _ask(connection, action="fly"))["T"] == "error"
            assert (await _ask(connection, action="subscribe", trades="AAPL"))["code"] == 400
            assert (await _ask(connection, action="subscribe", trades=["AAPL"]))["trades"] == ["AAPL"]
        async with connect(world.server.url) as connection:
            await _receive(connection)
            assert (await _ask(connection, action="auth", key="key-0", secret="wrong"))["code"] == 402

    asyncio.run(run())


def test_keys_in_the_handshakes_headers_are_enough(world: World) -> None:
    async def run() -> None:
        headers = {"APCA-API-KEY-ID": "key-0", "APCA-API-SECRET-KEY": "secret-0"}
        async with connect(world.server.url, additional_headers=headers) as connection:
            found = [*await _receive(connection), *await _receive(connection)]
            assert [item["msg"] for item in found] == ["connected", "authenticated"]

    asyncio.run(run())
