# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gap swallowed, from a real HTTP server that answers in the API's shape: pages, limits, refusals."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from alpaca_websocket.observe.state import Gap, State
from alpaca_websocket.protocol import Message, Messages, rfc3339
from alpaca_websocket.settings import Backfill, Credentials, Upstream
from alpaca_websocket.upstream.backfill import BackfillError, fetch
from alpaca_websocket.upstream.gaps import Filler
from alpaca_websocket.upstream.policy import Backoff
from alpaca_websocket.upstream.recent import Recent, key

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
        self.items = {"trades": trades, "bars": bars}
        self.page = page
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.queries: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        self.queries.append({"channel": channel, **request.query})
        assert request.headers["APCA-API-KEY-ID"] == "a-key"
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return web.Response(status=status, headers=headers, text="as asked for")
        within = [item for item in self.items[channel] if request.query["start"] <= item["t"] <= request.query["end"]]
        start = int(request.query.get("page_token", "0"))
        following = str(start + self.page) if start + self.page < len(within) else None
        page = {"A": within[start : start + self.page]} if within else None
        return web.json_response({channel: page, "next_page_token": following})


@contextlib.asynccontextmanager
async def serving(api: Api) -> AsyncIterator[Backfill]:
    app = web.Application()
    app.router.add_get("/v2/stocks/{channel}", api.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Backfill(url=f"http://127.0.0.1:{runner.addresses[0][1]}", attempts=3, settle_seconds=0)
    finally:
        await runner.cleanup()


def fetched(api: Api, seen: Callable[[], set[Any]] = set) -> tuple[list[Message], Gap]:
    found: list[Message] = []
    gap = Gap(BEGAN, "a test", ended_ns=ENDED)

    async def run() -> None:
        async with serving(api) as settings:
            await fetch(gap, SYMBOLS, seen(), settings, KEYS, found.extend)

    asyncio.run(run())
    return found, gap


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "after", lambda *_: 0.0)


def test_every_page_is_fetched_and_every_item_marked() -> None:
    found, gap = fetched(Api([trade(n, BEGAN + n * SECOND) for n in range(7)]))
    items = [json.loads(message.raw) for message in found]
    assert [item["i"] for item in items] == list(range(7))
    assert all(item["backfilled"] is True and item["T"] == "t" and item["S"] == "A" for item in items)
    assert {(message.kind, message.symbol) for message in found} == {("t", "A")}
    assert (gap.trades, gap.bars) == (7, 0)


def test_bars_are_those_that_were_published_in_the_gap() -> None:
    """The bar of 14:30 was published at 14:31, that of 14:35 is still to come."""
    minute = 60 * SECOND
    first = BEGAN // minute * minute
    found, gap = fetched(Api(bars=[bar(first + n * minute) for n in range(-5, 10)]))
    times = [json.loads(message.raw)["t"][14:16] for message in found]
    assert times == ["29", "30", "31", "32", "33", "34"]  # the first for the case that it came late
    assert gap.bars == 6


def test_what_had_come_by_stream_is_left_out() -> None:
    items = [trade(n, BEGAN + n * SECOND) for n in range(6)]
    # The stream writes the same moment with other digits.
    had = [
        Message("t", "A", json.dumps({"T": "t", "S": "A", **item, "t": item["t"][:-1] + ".000Z"}).encode())
        for item in items[1:4]
    ]
    found, _gap = fetched(Api(items), lambda: {key(message) for message in had})
    assert [json.loads(message.raw)["i"] for message in found] == [0, 4, 5]


def test_trades_of_one_moment_are_told_apart() -> None:
    items = [trade(1, BEGAN), trade(2, BEGAN), {**trade(2, BEGAN), "x": "Q"}]
    found, _gap = fetched(Api(items))
    assert len(found) == 3


def test_refusals_are_waited_out() -> None:
    api = Api([trade(1, BEGAN)])
    api.refusals = [(429, {"Retry-After": "0"}), (500, {})]
    found, _gap = fetched(api)
    assert len(found) == 1


@pytest.mark.parametrize(("refusals", "asked"), [([(403, {})], 1), ([(500, {})] * 3, 3)])
def test_what_cannot_be_had_is_said(refusals: list[tuple[int, dict[str, str]]], asked: int) -> None:
    api = Api([trade(1, BEGAN)])
    api.refusals = list(refusals)
    with pytest.raises(BackfillError, match=str(refusals[0][0])):
        fetched(api)
    assert len(api.queries) == asked


def test_a_gap_of_days_is_filled_from_the_longest_on() -> None:
    api = Api()
    gap = Gap(BEGAN - 10 * 86400 * SECOND, "a test", ended_ns=ENDED)

    async def run() -> None:
        async with serving(api) as settings:
            await fetch(gap, {"trades": ["A"]}, set(), settings, KEYS, lambda _messages: None)

    asyncio.run(run())
    (query,) = api.queries
    assert query["start"] == rfc3339(ENDED - 86400 * SECOND - 2 * SECOND)


def test_many_symbols_go_in_several_requests() -> None:
    api = Api()

    async def run() -> None:
        async with serving(api) as settings:
            symbols = {"trades": {f"S{n}" for n in range(250)}}
            await fetch(Gap(BEGAN, "", ended_ns=ENDED), symbols, set(), settings, KEYS, lambda _messages: None)

    asyncio.run(run())
    asked = [name for query in api.queries for name in query["symbols"].split(",")]
    assert len(api.queries) == 3
    assert len(set(asked)) == len(asked) == 250


class Life:
    """A filler with what it took."""

    def __init__(self, settings: Backfill) -> None:
        self.state, self.recent = State(), Recent()
        self.took: list[Message] = []
        upstream = Upstream(credentials_file="x", backfill=settings)
        self.filler = Filler(
            upstream, self.state, self.recent, lambda messages, _now, _late: self.took.extend(messages)
        )


def test_all_symbols_are_those_that_were_seen() -> None:
    api = Api([trade(1, BEGAN + SECOND)])

    async def run() -> None:
        async with serving(api) as settings:
            life = Life(settings)
            life.state.received(Messages.of([Message("t", "A", b""), Message("q", "B", b"")]), 0, BEGAN)
            gap = life.state.open_gap("a test", BEGAN)
            life.filler.opened(gap)
            life.filler.resumed(ENDED, {"trades": {"*"}}, KEYS, None)
            async with asyncio.timeout(60):
                while not gap.filled:
                    await asyncio.sleep(0.01)
            assert [query["symbols"] for query in api.queries] == ["A,B"]
            assert len(life.took) == 1
            assert life.state.backfilled == {"t": 1}
            await life.filler.stop()

    asyncio.run(run())


def test_a_gap_that_cannot_be_filled_stays_in_sight() -> None:
    api = Api()
    api.refusals = [(403, {})]

    async def run() -> None:
        async with serving(api) as settings:
            life = Life(settings)
            gap = life.state.open_gap("a test", BEGAN)
            life.filler.opened(gap)
            life.filler.resumed(ENDED, {"trades": {"A"}}, KEYS, None)
            async with asyncio.timeout(60):
                while not gap.error:
                    await asyncio.sleep(0.01)
            assert not gap.filled
            assert "403" in life.state.alerts["backfill"]

    asyncio.run(run())


def test_an_upstream_that_refuses_to_replay_is_not_waited_for() -> None:
    async def run() -> None:
        sent: list[dict[str, Any]] = []

        class Link:
            def send(self, message: dict[str, Any]) -> None:
                sent.append(message)

        life = Life(Backfill(source="replay"))
        known = Message("t", "A", json.dumps({"T": "t", "S": "A", **trade(1, BEGAN)}).encode())
        life.recent.add(Messages.of([known]))
        gap = life.state.open_gap("a test", BEGAN)
        life.filler.opened(gap)
        life.filler.resumed(ENDED, {"trades": {"A"}}, KEYS, Link())  # type: ignore[arg-type]
        assert sent == [{"action": "replay", "since": rfc3339(BEGAN - 2 * SECOND), "trades": ["A"]}]
        missed = Message("t", "A", json.dumps({"T": "t", "S": "A", **trade(2, BEGAN)}).encode())
        (kept,) = life.filler.sift(Messages.of([known, missed]))
        assert json.loads(kept.raw)["backfilled"] is True
        assert life.filler.replaying
        life.filler.told({"T": "error", "code": 410, "msg": "no"})
        assert not life.filler.replaying
        assert "410" in gap.error

    asyncio.run(run())
