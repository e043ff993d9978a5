# SPDX-License-Identifier: GPL-3.0-or-later
"""A client asks for what it missed: everything comes, once, in order, and live goes on without a seam."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect

from alpaca_websocket.protocol import Messages, rfc3339
from alpaca_websocket.store import Store, StoreSettings
from serving import Caller, Serving, calling, eventually, message, serving


def numbers(items: list[dict[str, Any]]) -> list[int]:
    return [item["i"] for item in items if "i" in item]


def trades(first: int, end: int, symbol: str = "A") -> list[Any]:
    return [message("t", symbol, number) for number in range(first, end)]


def replayed(item: dict[str, Any]) -> bool:
    return item.get("msg") == "replayed" or item["T"] == "error"


async def replay(client: Caller, since: str | int, **channels: Any) -> list[dict[str, Any]]:
    await client.socket.send(json.dumps({"action": "replay", "since": since, **channels}))
    return await client.until(replayed)


def test_what_was_missed_comes_since_a_sequence_number_or_a_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as server:
            server.publish(*trades(0, 10))
            known = server.head
            await asyncio.sleep(0.002)  # so that the next has a later time of receipt
            since = rfc3339(server.state.clock())
            server.publish(*trades(10, 1500), message("q", "A", -1), *trades(1500, 1510, "B"))
            async with calling(server.url) as client:
                for begin in (known, str(known), since):
                    found = await replay(client, begin, trades=["A"])
                    assert numbers(found) == list(range(10, 1500))
                    assert found[-1] == {"T": "success", "msg": "replayed", "through": server.head}
                found = await replay(client, 0, trades=["*"], quotes=["A"])
                assert numbers(found) == [*range(1500), -1, *range(1500, 1510)]
                assert numbers(await replay(client, server.head, trades=["*"])) == []

    asyncio.run(run())


def test_a_server_of_ours_is_told_where_a_replay_begins(tmp_path: Path) -> None:
    """What came before that was live, and is not part of what had been missed."""

    async def run() -> None:
        async with serving(tmp_path, store=True) as server, calling(server.url) as client:
            server.publish(*trades(0, 10))
            await client.ask(action="subscribe", trades=["A"])
            server.publish(*trades(10, 12))
            await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["A"], "backfilled": True}))
            found = await client.until(replayed)
            at = found.index({"T": "success", "msg": "replaying"})
            live, past = numbers(found[:at]), numbers(found[at:])
            assert (live, past) == ([10, 11], list(range(10)))

    asyncio.run(run())


def test_what_is_damaged_is_named_and_the_rest_comes(tmp_path: Path) -> None:
    for number in (0, 10):
        store = Store.open(StoreSettings(directory=str(tmp_path / "store"), min_free_bytes=1))
        store.append(Messages.of([*trades(number, number + 10), message("q", "A", number)]), time.time_ns())
        store.close()
    damaged = min((tmp_path / "store" / "parquet" / "kind=trades").rglob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-9])

    async def run() -> None:
        async with serving(tmp_path, store=True) as server, calling(server.url) as client:
            server.publish(*trades(20, 30))
            found = await replay(client, 0, trades=["A"], quotes=["A"])
            assert numbers(found) == [0, *range(10, 20), 10, *range(20, 30)]
            assert damaged.name in found[-1]["missing"]["trades"]
            assert found[-1]["missing"].keys() == {"trades"}
            assert damaged.name in server.state.alerts["stored"]

    asyncio.run(run())


def test_who_asks_since_later_than_now_is_told_where_the_feed_is_and_loses_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as server, calling(server.url) as client:
            await client.ask(action="subscribe", trades=["A"])
            told: list[Any] = []
            for number in range(300):
                server.publish(*trades(number, number + 1))
                if number % 3 == 0:
                    later = 2**63 - 1 if number % 2 else "2200-01-01T00:00:00Z"
                    await client.socket.send(json.dumps({"action": "replay", "since": later}))
                await asyncio.sleep(0.001 * (number % 2))
            for _ in range(100):
                told += await client.until(replayed)
                assert told[-1]["through"] == server.head - 299 + len(numbers(told)) - 1
            if len(numbers(told)) < 300:
                told += await client.until(lambda item: item.get("i") == 299)
            assert numbers(told) == list(range(300))

    asyncio.run(run())


@pytest.mark.parametrize("since", [None, "yesterday", [], {}, "1999-99-99T00:00:00Z"])
def test_a_wrong_beginning_is_refused(tmp_path: Path, since: Any) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as server, calling(server.url) as client:
            assert (await replay(client, since, trades=["A"]))[-1]["code"] == 400

    asyncio.run(run())


def test_rights_hold_for_the_past_as_well(tmp_path: Path) -> None:
    from alpaca_websocket.downstream import auth

    given, table = auth.make("bars only")
    key, secret = (line.split()[1] for line in given.splitlines())

    async def run() -> None:
        async with (
            serving(tmp_path, store=True, tokens=table + 'channels = ["bars"]\n') as server,
            calling(server.url, key=key, secret=secret) as client,
        ):
            server.publish(*trades(0, 3))
            assert (await replay(client, 0, trades=["A"]))[-1]["code"] == 409
            assert numbers(await replay(client, 0, bars=["*"])) == []

    asyncio.run(run())


async def _talk(server: Serving, stop: asyncio.Event, first: int) -> int:
    """Publishes without a pause; returns the next number."""
    number, chance = first, random.Random(1)
    while not stop.is_set():
        count = chance.randrange(1, 50)
        server.publish(*trades(number, number + count))
        number += count
        await asyncio.sleep(0.0005)
    return number


@pytest.mark.parametrize("buffer", [65536, 10_000_000], ids=["more comes than may wait", "all may wait"])
def test_replay_and_live_meet_without_a_gap_and_without_a_repetition(tmp_path: Path, buffer: int) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True, buffer_bytes=buffer) as server:
            server.publish(*trades(0, 20_000))
            stop = asyncio.Event()
            talking = asyncio.create_task(_talk(server, stop, 20_000))
            async with calling(server.url) as client:
                await client.ask(action="subscribe", trades=["A"])
                early = numbers(await client.next())  # live begins before the replay does
                await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["A"]}))
                found = await client.until(replayed)
                for _ in range(50):
                    found += await client.next()
                stop.set()
                last = await talking - 1
                while last not in numbers(found):
                    found += await client.next()
            got = early + numbers(found)
            assert sorted(got) == list(range(last + 1))
            past = got[got.index(0) :]
            assert past == sorted(past)

    asyncio.run(run())


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("buffer", [65536, 100_000_000], ids=["more comes than may wait", "all may wait"])
def test_what_comes_while_a_replay_is_stuck_is_not_lost(tmp_path: Path, buffer: int, when: str) -> None:
    """The client does not read for a while: the replay waits for it, and live messages for the replay."""

    async def run() -> None:
        async with (
            serving(tmp_path, store=True, buffer_bytes=buffer) as server,
            calling(server.url, compression=None, max_queue=1) as client,
        ):
            # More than the buffers of the kernel hold.
            server.publish(*(message("t", "A", number, padding=1500) for number in range(20_000)))
            subscribe = json.dumps({"action": "subscribe", "trades": ["B"]})
            if when == "before":
                await client.socket.send(subscribe)
            await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["A"]}))
            found = await client.next()
            if when == "during":
                await client.socket.send(subscribe)
            await eventually(lambda: server.router.wanted() == {"trades": {"B"}}, "the subscription")
            await eventually(lambda: any(each.replaying for each in server.server._sessions.values()), "the replay")
            for number in range(20_000, 21_000, 100):
                server.publish(*trades(number, number + 100, "B"))
                await asyncio.sleep(0)
            found += await client.until(replayed)
            server.publish(*trades(21_000, 21_010, "B"))
            while not found or found[-1].get("i") != 21_009:
                found += await client.next()
            assert numbers(found) == list(range(21_010))

    asyncio.run(run())


def test_only_one_replay_runs_for_a_client(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as server, calling(server.url) as client:
            server.publish(*trades(0, 20_000))
            for _ in range(2):
                await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["A"]}))
            found = await client.until(lambda item: item.get("msg") == "replayed")
            assert [item["code"] for item in found if item["T"] == "error"] == [400]
            assert numbers(found) == list(range(20_000))

    asyncio.run(run())


def test_msgpack_clients_replay_too(tmp_path: Path) -> None:
    async def run() -> None:
        headers = {"Content-Type": "application/msgpack"}
        async with serving(tmp_path, store=True) as server, connect(server.url, additional_headers=headers) as ws:
            server.publish(*trades(0, 100))
            client = Caller(ws)
            for request in ({"action": "auth", "key": "m"}, {"action": "replay", "since": 0, "trades": ["*"]}):
                await client.next()
                await ws.send(msgpack.packb(request))
            found = [item for item in await client.until(replayed) if item["T"] == "t"]
            assert numbers(found) == list(range(100))

    asyncio.run(run())


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, store=True) as server:
            server.publish(*trades(0, 20_000))
            for _ in range(6):  # more than may replay at once
                async with calling(server.url, compression=None) as client:
                    await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["A"]}))
                    await client.next()
                    client.socket.transport.abort()
            async with calling(server.url) as client:
                assert numbers(await replay(client, 0, trades=["A"])) == list(range(20_000))

    asyncio.run(run())


def test_what_comes_between_a_replay_and_a_subscription_that_follows_it_is_not_lost(tmp_path: Path) -> None:
    """The client subscribes while its replay runs; nothing may be missing between the end of the one and the other."""

    async def while_it_runs(folder: Path, stored: int) -> bool:
        """Whether the subscription came before the replay was over."""
        async with serving(folder, store=True) as server, calling(server.url) as client:
            server.publish(*(message("t", "A", number) for number in range(stored)))
            await client.socket.send(json.dumps({"action": "replay", "since": 0, "trades": ["A"]}))
            await eventually(lambda: any(s.replaying for s in server.server._sessions.values()), "the replay to begin")
            server.publish(*(message("t", "A", number) for number in range(stored, stored + 100)))
            await client.socket.send(json.dumps({"action": "subscribe", "trades": ["A"]}))
            found = await client.until(lambda item: item.get("msg") == "replayed")
            if not any(item["T"] == "subscription" for item in found):
                return False
            server.publish(message("t", "A", stored + 100))
            found += await client.next()
            assert [item["i"] for item in found if item["T"] == "t"] == list(range(stored + 101))
            return True

    # How long a replay takes is the machine's: one that is over too soon proves nothing, and a longer one follows.
    assert any(asyncio.run(while_it_runs(tmp_path / str(stored), stored)) for stored in (2_000, 20_000, 100_000))
