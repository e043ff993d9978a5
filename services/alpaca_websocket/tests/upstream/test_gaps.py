# SPDX-License-Identifier: GPL-3.0-or-later
"""From the loss of the feed to the last message fetched: where a gap begins, what comes, what is called filled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from alpaca_websocket.observe.state import Gap, State
from alpaca_websocket.protocol import Message, Messages, rfc3339
from alpaca_websocket.settings import Backfill, Credentials, Upstream
from alpaca_websocket.upstream.backfill import fetch
from alpaca_websocket.upstream.calendar import Calendar
from alpaca_websocket.upstream.feed import Feed
from alpaca_websocket.upstream.gaps import Filler, Held, kept_kinds
from alpaca_websocket.upstream.position import Position
from alpaca_websocket.upstream.recent import Recent

from .test_backfill import BEGAN, ENDED, KEYS, SECOND, Api, bar, serving, trade

MINUTE = 60 * SECOND
OVERLAP = 12 * SECOND


def message(kind: str, symbol: str, item: dict[str, Any]) -> Message:
    return Message(kind, symbol, json.dumps({"T": kind, "S": symbol, **item}, separators=(",", ":")).encode())


def traded(number: int, moment: int, symbol: str = "A") -> Message:
    return message("t", symbol, trade(number, moment))


def quoted(number: int, moment: int, symbol: str = "A") -> Message:
    return message("q", symbol, {"bp": number, "ap": number, "t": rfc3339(moment)})


class Link:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, asked: dict[str, Any]) -> None:
        self.sent.append(asked)


class Life:
    """A filler with what came and what it took."""

    def __init__(self, settings: Backfill, most_bytes: int = 64 * 2**20) -> None:
        self.state = State()
        upstream = Upstream(credentials_file="x", backfill=settings)
        self.recent = Recent(kept_kinds(upstream), most_bytes)
        self.took: list[Message] = []
        self.link = Link()
        self.filler = Filler(upstream, self.state, self.recent, self._take)

    def _take(self, messages: Messages, now_ns: int, _backfilled: bool) -> None:
        self.took.extend(messages)
        self.recent.add(messages, now_ns)
        self.filler.watch(messages)

    def came(self, now_ns: int, *messages: Message) -> None:
        batch = Messages.of(messages)
        self.state.received(batch, 0, now_ns)
        self.recent.add(batch, now_ns)
        self.filler.watch(batch)

    def lost(self, **held: dict[str, int]) -> Gap:
        gap = self.state.open_gap("a test")
        self.filler.opened(gap, held)
        return gap

    def back(self, now_ns: int = ENDED) -> None:
        self.filler.resumed(now_ns, KEYS, self.link)  # type: ignore[arg-type]

    async def settled(self, gap: Gap) -> None:
        await until(lambda: gap.settled)

    def ids(self) -> list[int]:
        return [json.loads(one.raw)["i"] for one in self.took if one.kind == "t"]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def living(api: Api, test: Callable[[Life], Any], most_bytes: int = 64 * 2**20, **settings: Any) -> None:
    """Runs the test with a filler that asks this API."""

    async def run() -> None:
        async with serving(api) as found:
            backfill = Backfill(url=found.url, attempts=2, **{"settle_seconds": 0.0, **settings})
            life = Life(backfill, most_bytes)
            try:
                await test(life)
            finally:
                await life.filler.stop()

    asyncio.run(run())


def test_a_gap_begins_at_the_last_message_of_the_channel_that_fell_silent() -> None:
    """Trades stop; quotes flow for another ten seconds; all trades of that time are fetched."""
    api = Api([trade(n, BEGAN + n * SECOND // 5) for n in range(100)])

    async def test(life: Life) -> None:
        for number in range(10):
            life.came(BEGAN + number * SECOND // 5, traded(number, BEGAN + number * SECOND // 5))
        for number in range(10, 60):
            life.came(BEGAN + number * SECOND // 5, quoted(number, BEGAN + number * SECOND // 5))
        gap = life.lost(trades={"A": BEGAN - SECOND}, quotes={"A": BEGAN - SECOND})
        assert gap.began_ns == gap.channels["trades"].began_ns == BEGAN + 9 * SECOND // 5
        life.back(BEGAN + 99 * SECOND // 5)
        await life.settled(gap)
        assert life.ids() == list(range(10, 100))
        assert gap.channels["trades"].result == "filled"
        assert gap.channels["trades"].fetched == gap.trades == 90
        # Nobody asked for the quotes.
        assert not gap.filled
        assert list(gap.missing) == ["quotes"]

    living(api, test)


def test_a_symbol_that_fell_silent_is_fetched_from_its_own_last_message() -> None:
    """A's trades stop; B's flow for ten minutes more, and many of them."""
    api = Api([trade(n, BEGAN + n * SECOND) for n in range(300)])

    async def test(life: Life) -> None:
        life.came(BEGAN, traded(0, BEGAN))
        for number in range(1, 280):
            life.came(BEGAN + number * SECOND, traded(1000 + number, BEGAN + number * SECOND, "B"))
        gap = life.lost(trades={"A": BEGAN - SECOND, "B": BEGAN - SECOND})
        assert gap.began_ns == BEGAN + 279 * SECOND
        life.back()
        await life.settled(gap)
        assert life.ids() == list(range(1, 300))
        assert gap.filled

    living(api, test)


@pytest.mark.parametrize("own", [True, False], ids=["this host's", "another host's"])
def test_after_a_restart_a_symbol_is_fetched_from_its_own_last_message(own: bool) -> None:
    """A's trades stop, B's flow for 25 s more, then the process is killed. What another host stored is not known."""
    api = Api([trade(n, BEGAN + n * SECOND) for n in range(60)])
    killed = BEGAN + 25 * SECOND
    took: list[Message] = []

    async def run() -> None:
        async with serving(api) as found:
            settings = Upstream(credentials_file="x", backfill=Backfill(url=found.url, settle_seconds=0.0))
            state = State()
            feed = Feed(
                settings, state, Calendar([]), credentials, dict, lambda batch, _now, _fetched: took.extend(batch)
            )
            stored = [(BEGAN, traded(0, BEGAN))]
            stored += [(BEGAN + n * SECOND, traded(1000 + n, BEGAN + n * SECOND, "B")) for n in range(1, 26)]
            if own:
                feed.remember([(at, Messages.of([one])) for at, one in stored], BEGAN - 5 * SECOND)
            position = Position(
                at_ns=killed, last={"trades": killed}, since={"trades": BEGAN - MINUTE},
                subscriptions={"trades": ["A", "B"]},
            )  # fmt: skip
            feed.resume(position, "a test", own=own)
            feed._filler.resumed(BEGAN + 60 * SECOND, KEYS, None)
            await until(lambda: state.gaps[-1].settled)

    async def credentials() -> Credentials:
        return KEYS

    asyncio.run(run())
    of_a = [json.loads(one.raw)["i"] for one in took if one.symbol == "A"]
    assert of_a == list(range(1 if own else 25 - OVERLAP // SECOND, 60))


@pytest.mark.parametrize("channel", ["trades", "quotes"])
def test_what_had_come_is_not_fetched_again_whatever_else_came_since(channel: str) -> None:
    """Twenty of one channel, then 60,000 of the other, then a cut within a second."""
    kind, other = ("t", quoted) if channel == "trades" else ("q", traded)
    made = traded if channel == "trades" else quoted
    moments = [BEGAN + n * SECOND // 1000 for n in range(30)]
    api = Api()
    api.items[channel] = [
        {name: value for name, value in json.loads(made(n, moment).raw).items() if name not in "TS"}
        for n, moment in enumerate(moments)
    ]

    async def test(life: Life) -> None:
        life.came(BEGAN, *(made(n, moments[n]) for n in range(20)))
        for start in range(0, 60_000, 2_000):
            at = BEGAN + (100 + start // 100) * SECOND // 1000
            life.came(at, *(other(100 + n, at) for n in range(start, start + 2_000)))
        gap = life.lost(trades={"A": BEGAN - SECOND}, quotes={"A": BEGAN - SECOND})
        life.back(BEGAN + SECOND)
        await life.settled(gap)
        assert [one.raw for one in life.took if one.kind == kind] == [
            made(n, moments[n]).raw[:-1] + b',"backfilled":true}' for n in range(20, 30)
        ]
        assert gap.filled

    living(api, test, channels=("trades", "quotes"))


def test_where_memory_ends_nothing_comes_twice_and_nothing_after_the_last_is_missed() -> None:
    """Memory for a few messages only, at any rate."""
    items = [trade(n, BEGAN + n * SECOND // 1000) for n in range(3000)]

    async def test(life: Life) -> None:
        life.came(BEGAN - 50 * SECOND, message("t", "A", trade(-1, BEGAN - 50 * SECOND)))
        for number in range(0, 2500, 10):
            life.came(BEGAN + number * SECOND // 1000, *(
                message("t", "A", item) for item in items[number:number + 10]))  # fmt: skip
        gap = life.lost(trades={"A": BEGAN - 60 * SECOND})
        life.back(BEGAN + 3 * SECOND)
        await life.settled(gap)
        found = life.ids()
        assert len(found) == len(set(found))
        assert not set(found) & set(range(2500))
        # Our clock and the exchange's may differ by a tenth of a second.
        assert set(found) >= set(range(2600, 3000))

    living(Api(items, page=1000), test, most_bytes=4_000)


def test_what_is_on_its_way_or_late_when_the_feed_is_back_does_not_come_twice() -> None:
    api = Api([trade(n, BEGAN + n * SECOND) for n in range(300)], page=1000)

    async def test(life: Life) -> None:
        life.came(BEGAN, traded(0, BEGAN))
        gap = life.lost(trades={"A": BEGAN - SECOND})
        life.back()
        for number in range(290, 300):
            life.came(ENDED + SECOND, traded(number, BEGAN + number * SECOND))
        life.came(ENDED + 4 * SECOND, traded(5, BEGAN + 5 * SECOND), traded(400, ENDED + 3 * SECOND))
        await life.settled(gap)
        assert life.ids() == [*range(1, 5), *range(6, 290)]

    living(api, test, settle_seconds=0.2)


def test_a_stall_makes_what_was_read_late_no_newer() -> None:
    """The process stood still for a minute, then read what had waited, then the connection was gone."""
    api = Api([trade(n, BEGAN + n * SECOND) for n in range(100)], page=1000)

    async def test(life: Life) -> None:
        life.came(BEGAN + 60 * SECOND, *(traded(n, BEGAN + n * SECOND) for n in range(3)))
        gap = life.lost(trades={"A": BEGAN - SECOND})
        life.back(BEGAN + 61 * SECOND)
        await life.settled(gap)
        assert life.ids() == list(range(3, 62))

    living(api, test)


def test_bars_are_those_that_were_published_in_the_gap() -> None:
    """The bar of 14:30 was published at 14:31, that of 14:35 is still to come."""
    first = BEGAN // MINUTE * MINUTE
    api = Api(bars=[bar(first + n * MINUTE) for n in range(-5, 10)])

    async def test(life: Life) -> None:
        life.came(BEGAN - 30 * SECOND, message("b", "A", bar(first - MINUTE)))
        gap = life.lost(bars={"A": BEGAN - 3600 * SECOND})
        life.back()
        await life.settled(gap)
        assert [json.loads(one.raw)["t"][14:16] for one in life.took] == ["30", "31", "32", "33", "34"]
        assert gap.bars == 5
        assert gap.filled

    living(api, test)


def test_what_was_not_subscribed_before_is_not_fetched() -> None:
    async def test(life: Life) -> None:
        life.came(BEGAN - 100 * SECOND, traded(0, BEGAN - 100 * SECOND))
        gap = life.lost(trades={"A": BEGAN})
        life.back()
        await life.settled(gap)
        assert gap.filled
        assert api.queries[0]["start"] == rfc3339(BEGAN - OVERLAP)

    living(api := Api(), test)


def test_all_symbols_are_those_that_were_seen() -> None:
    api = Api([trade(1, BEGAN + SECOND)])

    async def test(life: Life) -> None:
        life.came(BEGAN, traded(0, BEGAN), quoted(0, BEGAN, "B"))
        gap = life.lost(trades={"*": BEGAN - SECOND})
        life.back()
        await life.settled(gap)
        assert [query["symbols"] for query in api.queries] == ["A,B"]
        assert gap.filled
        assert life.state.backfilled == {"t": 1}

    living(api, test)


def test_more_symbols_than_are_fetched_are_not_called_filled() -> None:
    async def test(life: Life) -> None:
        life.came(BEGAN, *(traded(n, BEGAN, f"S{n}") for n in range(5)))
        gap = life.lost(trades={"*": BEGAN - SECOND})
        life.back()
        await life.settled(gap)
        assert not gap.filled
        assert gap.channels["trades"].symbols == 3
        assert "2 more" in gap.missing["trades"]

    living(Api(), test, max_symbols=3)


def test_a_gap_of_days_is_filled_from_the_longest_on_and_not_called_filled() -> None:
    async def test(life: Life) -> None:
        gap = life.lost(trades={"A": BEGAN - 10 * 86400 * SECOND})
        life.back()
        await life.settled(gap)
        assert api.queries[0]["start"] == rfc3339(ENDED - 86400 * SECOND)
        assert not gap.filled
        assert "86400" in gap.missing["trades"]

    living(api := Api(), test)


def test_a_channel_that_cannot_be_fetched_does_not_keep_the_others_from_it() -> None:
    api = Api([trade(1, BEGAN + SECOND)])
    api.refusals = [(403, {})]

    async def test(life: Life) -> None:
        gap = life.lost(bars={"A": BEGAN}, trades={"A": BEGAN})
        life.back()
        await life.settled(gap)
        assert not gap.filled
        assert "403" in gap.missing["bars"]
        assert "403" in life.state.alerts["backfill"]
        assert gap.channels["trades"].result == "filled"
        assert life.ids() == [1]

    living(api, test)


def test_what_the_api_has_nothing_of_is_not_called_filled() -> None:
    async def test(life: Life) -> None:
        gap = life.lost(statuses={"*": BEGAN}, lulds={"A": BEGAN})
        life.back()
        await life.settled(gap)
        assert not gap.filled
        assert gap.missing.keys() == {"statuses", "lulds"}
        assert not life.state.alerts

    living(Api(), test)


def test_a_loss_before_the_feed_was_whole_again_widens_the_gap() -> None:
    api = Api([trade(n, BEGAN + n * SECOND) for n in range(100)], page=1000)

    async def test(life: Life) -> None:
        life.came(BEGAN, traded(0, BEGAN))
        gap = life.lost(trades={"A": BEGAN - SECOND})
        life.came(BEGAN + 20 * SECOND, traded(20, BEGAN + 20 * SECOND))
        assert life.lost(trades={"A": BEGAN + 10 * SECOND}) is gap
        assert life.filler.unfilled() == {"trades": BEGAN}
        life.back(BEGAN + 99 * SECOND)
        await life.settled(gap)
        assert life.ids() == [*range(1, 20), *range(21, 100)]
        assert life.filler.unfilled() == {}

    living(api, test)


def of_replay(life: Life, *messages: Message) -> list[int]:
    """What is left of what the upstream replays."""
    left = life.filler.sift(Messages.of(messages))
    assert all(json.loads(one.raw)["backfilled"] is True for one in left)
    return [json.loads(one.raw).get("i", -1) for one in left]


async def begins(life: Life, requests: int = 1) -> None:
    """What comes before the upstream says so was on its way when the replay was asked for, and is live."""
    await until(lambda: len(life.link.sent) == requests)
    assert not life.filler.replaying
    life.filler.told({"T": "success", "msg": "replaying"})
    assert life.filler.replaying


def replaying(test: Callable[[Life], Any], most_bytes: int = 64 * 2**20) -> None:
    async def run() -> None:
        life = Life(Backfill(source="replay"), most_bytes)
        await test(life)
        await life.filler.stop()

    asyncio.run(run())


def test_an_upstream_of_our_kind_is_asked_for_each_channel_since_its_own_last_message() -> None:
    async def test(life: Life) -> None:
        life.came(BEGAN, traded(1, BEGAN))
        life.came(BEGAN + 10 * SECOND, quoted(2, BEGAN + 10 * SECOND))
        gap = life.lost(trades={"A": BEGAN - SECOND}, quotes={"A": BEGAN - SECOND})
        life.back()
        await begins(life)
        assert life.link.sent == [
            {"action": "replay", "since": rfc3339(BEGAN - 2 * SECOND), "trades": ["A"], "backfilled": True},
        ]
        assert of_replay(life, traded(1, BEGAN), traded(3, BEGAN + SECOND)) == [3]
        life.filler.told({"T": "success", "msg": "replayed", "through": 1})
        assert life.link.sent[1:] == [
            {"action": "replay", "since": rfc3339(BEGAN + 8 * SECOND), "quotes": ["A"], "backfilled": True},
        ]
        assert not gap.settled
        await begins(life, 2)
        assert of_replay(life, quoted(2, BEGAN + 10 * SECOND)) == []
        life.filler.told({"T": "success", "msg": "replayed", "through": 1})
        assert gap.filled
        assert not life.filler.replaying

    replaying(test)


def test_an_upstream_that_replays_60_000_quotes_doubles_none() -> None:
    async def test(life: Life) -> None:
        sent = [quoted(n, BEGAN + n * 10_000) for n in range(60_000)]
        for start in range(0, 60_000, 1_000):
            life.came(BEGAN + start * 10_000, *sent[start : start + 1_000])
        life.lost(quotes={"A": BEGAN - SECOND})
        life.back()
        await begins(life)
        assert of_replay(life, *sent, quoted(60_000, BEGAN + SECOND)) == [-1]

    replaying(test)


def test_an_upstream_that_refuses_to_replay_is_not_waited_for() -> None:
    async def test(life: Life) -> None:
        gap = life.lost(trades={"A": BEGAN})
        life.back()
        await begins(life)
        life.filler.told({"T": "error", "code": 405, "msg": "symbol limit exceeded: upstream has no room for X"})
        assert life.filler.replaying
        life.filler.told({"T": "error", "code": 410, "msg": "no"})
        assert not life.filler.replaying
        assert gap.settled
        assert "410" in gap.error
        assert "410" in gap.missing["trades"]

    replaying(test)


def test_a_loss_in_the_middle_of_a_replay_is_asked_for_anew() -> None:
    async def test(life: Life) -> None:
        life.came(BEGAN, traded(1, BEGAN))
        first = life.lost(trades={"A": BEGAN - SECOND})
        life.back()
        await begins(life)
        life.came(ENDED, traded(3, ENDED))
        second = life.lost(trades={"A": ENDED - SECOND})
        assert not life.filler.replaying
        assert "next gap" in first.missing["trades"]
        life.back(ENDED + 10 * SECOND)
        await begins(life, 2)
        assert life.link.sent[1] == life.link.sent[0]
        life.filler.told({"T": "success", "msg": "replayed", "through": 1})
        assert second.filled

    replaying(test)


def test_nothing_lost_is_nothing_missing() -> None:
    held: Held = {}

    async def test(life: Life) -> None:
        gap = life.state.open_gap("a test")
        life.filler.opened(gap, held)
        life.back()
        await life.settled(gap)
        assert gap.filled

    living(Api(), test)


def test_an_odd_answer_of_the_history_ends_a_gap_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a fetch ends with: a gap that nobody fills must not look as if it were being filled."""

    async def broken(*_given: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("alpaca_websocket.upstream.gaps.fetch", broken)

    async def test(life: Life) -> None:
        gap = life.lost(trades={"A": BEGAN})
        life.back()
        await life.settled(gap)
        assert not gap.filled
        assert "a mistake" in gap.missing["trades"]
        assert "a mistake" in life.state.alerts["backfill"]
        assert life.filler.unfilled() == {}

    living(Api(), test)


def test_a_clock_that_is_behind_loses_nothing_at_the_end_of_a_gap() -> None:
    """Trades bear times after the end of the gap by our clock; what came live as well does not come twice."""
    moments = [ENDED - SECOND, ENDED + SECOND // 10, ENDED + SECOND // 5]
    api = Api([trade(n, moment) for n, moment in enumerate(moments)])

    async def test(life: Life) -> None:
        gap = life.lost(trades={"A": BEGAN})
        life.back()
        life.came(ENDED, traded(2, moments[2]))
        await life.settled(gap)
        assert life.ids() == [0, 1]
        assert gap.filled

    living(api, test, settle_seconds=0.3)


def test_a_fetch_that_a_restart_of_the_feed_cancelled_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api([trade(n, BEGAN + n * SECOND) for n in range(10)], page=3)
    asked, really = asyncio.Event(), fetch
    never = asyncio.Event()

    async def cut_off(*given: Any) -> None:
        await really(*given)
        if not asked.is_set():
            asked.set()
            await never.wait()

    monkeypatch.setattr("alpaca_websocket.upstream.gaps.fetch", cut_off)

    async def test(life: Life) -> None:
        gap = life.lost(trades={"A": BEGAN})
        life.back()
        await until(asked.is_set)
        await life.filler.stop()
        assert not gap.settled
        assert "trades" in life.filler.unfilled()
        life.back(ENDED + SECOND)
        await life.settled(gap)
        assert life.ids() == list(range(10))
        assert gap.filled
        assert life.filler.unfilled() == {}

    living(api, test)


def test_of_every_symbol_of_a_star_the_status_is_unknown_though_none_was_told_before() -> None:
    async def test(life: Life) -> None:
        life.came(BEGAN, traded(1, BEGAN, "A"), traded(2, BEGAN, "B"))
        gap = life.lost(trades={"*": BEGAN - SECOND}, statuses={"*": BEGAN - SECOND})
        assert life.state.trading.unknown("s") == ["A", "B"]
        life.back()
        await life.settled(gap)
        assert sorted(one.symbol for one in life.took if one.kind == "s") == ["A", "B"]

    living(Api(), test)
