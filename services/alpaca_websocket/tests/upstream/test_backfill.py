# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gap swallowed, from a real HTTP server that answers in the API's shape: pages, limits, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiohttp import web

from alpaca_websocket.protocol import Message, rfc3339, time_ns
from alpaca_websocket.settings import Backfill, Credentials
from alpaca_websocket.upstream.backfill import BackfillError, History, fetch
from alpaca_websocket.upstream.policy import Backoff
from alpaca_websocket.upstream.recent import Key, key

SECOND = 10**9
BEGAN = 1_795_444_230 * SECOND  # 14:30:30
ENDED = BEGAN + 300 * SECOND  # 14:35:30
Item = dict[str, Any]
KEYS = Credentials("a-key", "a-secret")
SYMBOLS = {"trades": ["A"], "bars": ["A"]}


def trade(number: int, moment: int) -> dict[str, Any]:
    return {"t": rfc3339(moment), "x": "V", "p": 1.5, "s": 1, "c": ["@"], "i": number, "z": "C"}


def bar(moment: int) -> dict[str, Any]:
    return {"t": rfc3339(moment), "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "n": 1, "vw": 1.0}


class Api:
    """Serves what it is given, `page` items at a time, after the refusals."""

    def __init__(
        self, trades: Sequence[dict[str, Any]] = (), bars: Sequence[dict[str, Any]] = (), page: int = 2
    ) -> None:
        self.items: dict[str, Sequence[dict[str, Any]]] = {"trades": trades, "bars": bars, "quotes": ()}
        self.page = page
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.queries: list[dict[str, str]] = []
        self.always: dict[str, Any] | None = None
        self.raw = b""

    async def answer(self, request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        self.queries.append({"channel": channel, **request.query})
        assert request.headers["APCA-API-KEY-ID"] == "a-key"
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return web.Response(status=status, headers=headers, text="as asked for")
        if self.raw:
            return web.Response(body=self.raw, content_type="application/json")
        if self.always is not None:
            return web.json_response(self.always)
        start, end = time_ns(request.query["start"]), time_ns(request.query["end"])
        within = [item for item in self.items[channel] if start <= time_ns(item["t"]) <= end]
        at = int(request.query.get("page_token", "0"))
        following = str(at + self.page) if at + self.page < len(within) else None
        page = {"A": within[at : at + self.page]} if within else None
        return web.json_response({channel: page, "next_page_token": following})


@contextlib.asynccontextmanager
async def serving(api: Api) -> AsyncIterator[Backfill]:
    app = web.Application()
    app.router.add_get("/v2/{channel:stocks}", api.answer)  # what of news stands at the path itself
    app.router.add_get("/v2/stocks/{channel}", api.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Backfill(url=f"http://127.0.0.1:{runner.addresses[0][1]}", attempts=3, settle_seconds=0)
    finally:
        await runner.cleanup()


def history(settings: Backfill) -> History:
    return History("/v2/stocks", settings, KEYS)


def fetched(api: Api, channel: str = "trades", start: int = BEGAN, seen: set[Key] | None = None) -> list[Message]:
    found: list[Message] = []

    async def run() -> None:
        async with serving(api) as settings:
            await fetch(channel, {"A": start}, ENDED, set() if seen is None else seen, history(settings), found.extend)

    asyncio.run(run())
    return found


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "after", lambda *_: 0.0)


def test_every_page_is_fetched_and_every_item_marked() -> None:
    found = fetched(Api([trade(n, BEGAN + n * SECOND) for n in range(7)]))
    items = [json.loads(message.raw) for message in found]
    assert [item["i"] for item in items] == list(range(7))
    assert all(item["backfilled"] is True and item["T"] == "t" and item["S"] == "A" for item in items)
    assert {(message.kind, message.symbol) for message in found} == {("t", "A")}


def test_what_had_come_by_stream_is_left_out() -> None:
    items = [trade(n, BEGAN + n * SECOND) for n in range(6)]
    # The stream writes the same moment with other digits.
    had = [
        Message("t", "A", json.dumps({"T": "t", "S": "A", **item, "t": item["t"][:-1] + ".000Z"}).encode())
        for item in items[1:4]
    ]
    found = fetched(Api(items), seen={same for message in had if (same := key(message))})
    assert [json.loads(message.raw)["i"] for message in found] == [0, 4, 5]


def test_trades_of_one_moment_are_told_apart() -> None:
    items = [trade(1, BEGAN), trade(2, BEGAN), {**trade(2, BEGAN), "x": "Q"}]
    assert len(fetched(Api(items))) == 3


def test_refusals_are_waited_out() -> None:
    api = Api([trade(1, BEGAN)])
    api.refusals = [(429, {"Retry-After": "0"}), (500, {})]
    assert len(fetched(api)) == 1


@pytest.mark.parametrize(("refusals", "asked"), [([(403, {})], 1), ([(500, {})] * 3, 3)])
def test_what_cannot_be_had_is_said(refusals: list[tuple[int, dict[str, str]]], asked: int) -> None:
    api = Api([trade(1, BEGAN)])
    api.refusals = list(refusals)
    with pytest.raises(BackfillError, match=str(refusals[0][0])):
        fetched(api)
    assert len(api.queries) == asked


@pytest.mark.parametrize("answer", [{}, {"trades": 5}, {"trades": {"A": 5}}, {"trades": {"A": [{"i": 1}]}}])
def test_an_answer_that_is_none_is_not_taken_for_nothing(answer: dict[str, Any]) -> None:
    api = Api()
    api.always = answer
    with pytest.raises(BackfillError, match="answer"):
        fetched(api)


@pytest.mark.parametrize("item", [{}, {"symbols": None}, {"symbols": [1]}])
def test_a_piece_of_news_without_symbols_is_not_taken_for_nothing(item: dict[str, Any]) -> None:
    api = Api()
    api.always = {"news": [{"id": 1, "updated_at": "2026-11-23T14:30:00Z", **item}]}
    with pytest.raises(BackfillError, match="the answer holds no news"):
        fetched(api, "news")


def test_invalid_utf_8_in_an_answer_is_replaced_as_in_the_stream() -> None:
    api = Api()
    api.raw = b'{"trades": {"A": [{"i": 1, "x": "V", "t": "2026-11-23T14:30:00Z", "c": ["\xff"]}]}}'
    (found,) = fetched(api, start=0)
    assert json.loads(found.raw)["c"] == ["\ufffd"]


def test_a_page_that_names_itself_is_not_followed_for_ever() -> None:
    api = Api()
    api.always = {"trades": {}, "next_page_token": "again"}
    with pytest.raises(BackfillError, match="page"):
        fetched(api)


def test_many_symbols_go_in_several_requests_each_from_its_own_beginning() -> None:
    api = Api()

    async def run() -> None:
        async with serving(api) as settings:
            starts = {f"S{n}": BEGAN + (n % 5) * SECOND for n in range(250)}
            await fetch("trades", starts, ENDED, set(), history(settings), lambda _messages: None)

    asyncio.run(run())
    asked = [name for query in api.queries for name in query["symbols"].split(",")]
    assert len(api.queries) == 3
    assert len(set(asked)) == len(asked) == 250
    assert [query["start"] for query in api.queries] == [rfc3339(BEGAN + n * SECOND) for n in (0, 2, 4)]
