# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client is told of a symbol when it subscribes, and what of all that is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from alpaca_websocket.downstream.latest import Latest
from alpaca_websocket.protocol import Message, Messages
from serving import calling, message, serving


def at(kind: str, symbol: str, number: int, second: int) -> Message:
    item = {"T": kind, "S": symbol, "i": number, "t": f"2026-11-23T14:30:{second:02}Z"}
    return Message(kind, symbol, json.dumps(item).encode())


def known(latest: Latest, *symbols: str) -> list[int]:
    return [json.loads(found.raw)["i"] for found in latest.of(symbols, "tqbsl")]


def test_the_last_message_of_each_kind_is_known() -> None:
    latest = Latest()
    latest.add(Messages.of([message("t", "A", 1), message("q", "A", 2), message("t", "A", 3), message("t", "B", 4)]))
    assert known(latest, "A", "B", "C") == [3, 2, 4]


def test_what_is_fetched_later_counts_only_where_nothing_newer_is_known() -> None:
    latest = Latest()
    latest.add(Messages.of([at("t", "A", 1, 30), at("t", "B", 2, 10)]))
    latest.fill(Messages.of([at("t", "A", 3, 20), at("t", "B", 4, 20), at("t", "C", 5, 20)]))
    assert known(latest, "A", "B", "C") == [1, 4, 5]


def test_memory_is_bounded_and_what_is_heard_of_stays() -> None:
    latest = Latest(most=1000)
    for number in range(10_000):
        latest.add(Messages.of([message("t", f"S{number}", number), message("t", "OFTEN", number)]))
        assert len(latest) <= 1002
    assert known(latest, "OFTEN", "S9999", "S1") == [9999, 9999]


def test_a_subscription_can_ask_where_its_symbols_stand(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client, calling(server.url) as plain:
            await plain.ask(action="subscribe", trades=["A"])
            server.publish(*(message(kind, "A", n) for n, kind in enumerate("tqbsldt")), message("t", "B", 9))
            assert len(await plain.next()) == 2
            answer = await client.ask(action="subscribe", trades=["A"], snapshot=True)
            assert answer["trades"] == ["A"]
            found = await client.until(lambda item: item.get("msg") == "snapshot")
            assert [(item["T"], item["i"], item["snapshot"]) for item in found[:-1]] == [
                ("t", 6, True), ("q", 1, True), ("b", 2, True), ("s", 3, True), ("l", 4, True),
            ]  # fmt: skip
            assert found[-1] == {"T": "success", "msg": "snapshot", "messages": 5}
            server.publish(message("t", "A", 10))
            assert [item.get("snapshot") for item in await client.next()] == [None]
            # Who does not ask is not told.
            assert (await plain.next())[0]["i"] == 10
            assert (await plain.ask(action="subscribe", quotes=["A"]))["T"] == "subscription"
            assert (await plain.ask(action="subscribe"))["T"] == "subscription"

    asyncio.run(run())


def test_a_snapshot_has_its_limits(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            for symbols in (["*"], [f"S{number}" for number in range(501)]):
                refused: dict[str, Any] = await client.ask(action="subscribe", trades=symbols, snapshot=True)
                assert (refused["code"], "at most 500" in refused["msg"]) == (405, True)
            assert (await client.ask(action="subscribe"))["trades"] == []
            await client.ask(action="subscribe", trades=["UNHEARD"], snapshot=True)
            assert await client.next() == [{"T": "success", "msg": "snapshot", "messages": 0}]

    asyncio.run(run())
