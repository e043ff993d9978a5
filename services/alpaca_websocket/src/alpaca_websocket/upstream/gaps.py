# SPDX-License-Identifier: GPL-3.0-or-later
"""From the loss of the feed, or of some of its symbols, to the last of their messages fetched.

A gap begins, for each channel and symbol, at its own last message: one that had fallen silent long before the
connection was lost is fetched from there on. It is called filled when every channel and symbol that was held was asked
for, and answered to the last page.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from ..observe import trading
from ..observe.state import FILLED, Gap, GapChannel, State
from ..protocol import CHANNELS, KINDS, Message, Messages, mark_backfilled
from ..settings import Credentials, Upstream
from .backfill import BackfillError, History, fetch
from .fills import Fill, Replay, Span
from .link import Link
from .recent import CLOCKS_NS, MINUTE, SECOND, Recent, Text, bare, keys, raws

_log = logging.getLogger(__name__)
# Trades may be reported ten seconds late, and clocks differ.
_OVERLAP_NS = 10 * SECOND + CLOCKS_NS
_REPLAY_OVERLAP_NS = CLOCKS_NS
# After a stall, messages are read later than they came; from a stall longer than this nobody comes back connected.
_LONGEST_LAG_NS = 3600 * SECOND
_LATER = "not fetched: the connection was lost again; see the next gap"

Held = Mapping[str, Mapping[str, int]]
"""Channel → symbol → since when it is subscribed."""


def kept_kinds(settings: Upstream) -> frozenset[str]:
    """The kinds of which the last messages must be known."""
    match settings.backfill.source:
        case "rest":
            return frozenset(KINDS[channel] for channel in settings.backfill.channels)
        case "replay":
            return frozenset(KINDS.values())
        case _:
            return frozenset()


class Filler:
    """
    :param take: takes what was fetched, when, and that it was
    """

    def __init__(
        self, settings: Upstream, state: State, recent: Recent, take: Callable[[Messages, int, bool], None]
    ) -> None:
        self._settings, self._state, self._recent, self._take = settings, state, recent, take
        self._endpoint = settings.endpoint
        self._kinds = kept_kinds(settings)
        self._delay_ns = self._endpoint.delay_seconds * SECOND
        self._overlap = _REPLAY_OVERLAP_NS if settings.backfill.source == "replay" else _OVERLAP_NS
        self._open: Gap | None = None
        self._spans: dict[str, Span] = {}
        self._texts: list[Text] = []
        self._fills: list[Fill] = []
        self._cancelled: list[Fill] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._replay: Replay | None = None

    @property
    def replaying(self) -> bool:
        """Whether what comes now is what was missed."""
        return self._replay is not None and self._replay.begun

    def opened(self, gap: Gap, held: Held, symbols: Iterable[str] = (), began: Mapping[str, int] | None = None) -> None:
        """What is held is lost since its last message, perhaps once more before it was whole again.

        :param symbols: what `*` stands for, besides those that were seen
        :param began: channel → since when something was missing already
        """
        self._open = gap
        for channel, since in held.items():
            span = self._spans.setdefault(channel, Span())
            kind, last, starts = KINDS[channel], {}, {}
            lag = min(max(0, self._recent.lag_ns(kind) - self._delay_ns), _LONGEST_LAG_NS)
            for symbol, subscribed_ns in self._named(span, since, symbols):
                came = self._recent.last((kind, symbol))
                last[symbol] = max(came, subscribed_ns)
                overlap = self._overlap + lag if came > subscribed_ns else self._overlap
                last[symbol] = min(last[symbol], (began or {}).get(channel, last[symbol]))
                starts[symbol] = self._recent.start(kind, last[symbol], overlap)
            if last:
                span.add(last, starts, max(last.values()), max(starts.values()))
            if kind in trading.KINDS:
                # Of `*`, also those of which none was ever told: for most of them, a halt would be the first.
                seen = {*self._state.symbols, *self._recent.symbols(), *symbols} if "*" in since else ()
                self._state.trading.lose(kind, {*since, *seen}, span.began_ns)
        if self._replay is not None:
            self._carry_over(self._replay)
        self._texts += self._recent.texts()
        self._describe(gap)

    def _named(self, span: Span, since: Mapping[str, int], symbols: Iterable[str]) -> list[tuple[str, int]]:
        """What is held, by name: `*` stands for the symbols that were seen, as many as the settings allow."""
        by_name = self._settings.backfill.source == "rest" and self._endpoint.history_by_name
        if "*" not in since or not by_name:
            return list(since.items())
        most = self._settings.backfill.max_symbols
        ranked = self._state.symbols or self._recent.symbols()
        seen = (name for name, _count in ranked.most_common())
        names = dict.fromkeys((*(name for name in since if name != "*"), *seen, *symbols))
        span.left_out = max(span.left_out, len(names) - most)
        return [(name, since.get(name, since["*"])) for name in list(names)[:most]]

    def _describe(self, gap: Gap) -> None:
        for channel, span in self._spans.items():
            gap.channels[channel] = GapChannel(span.began_ns, len(span.last))
        began = {name: each.began_ns for name, each in gap.channels.items() if each.symbols}
        # By what speaks all the time; the others may be quiet for hours.
        steady = [began[name] for name in ("trades", "quotes") if name in began]
        gap.began_ns = min(steady or [*began.values(), gap.began_ns])

    def resumed(self, now_ns: int, credentials: Credentials, link: Link | None) -> None:
        """All that is wanted is subscribed again: fetch what was missed."""
        cancelled, self._cancelled = self._cancelled, []
        for fill in cancelled:
            self._begin(self._fetch(fill, credentials))
        gap, self._open = self._open, None
        if gap is None:
            return
        gap.ended_ns = now_ns
        seconds = (now_ns - gap.began_ns) / SECOND
        self._state.note(f"the feed is back after {seconds:.1f} s")
        _log.info("the feed is back", extra={"reason": gap.reason, "seconds": round(seconds, 3)})
        fill = Fill(gap, self._spans, (*self._texts, *self._recent.texts()), self._kinds, now_ns - self._delay_ns)
        self._spans, self._texts = {}, []
        source = self._settings.backfill.source
        if source != "replay":
            self._tell_unknown(fill)  # there is nothing to wait for
        if source == "rest":
            self._fills.append(fill)
            self._begin(self._fetch(fill, credentials))
        elif source == "replay" and link is not None:
            self._replay = Replay(fill, link)
            self._begin(self._ask_for_replay(self._replay))
        else:
            for channel in fill.spans:
                gap.channels[channel].result = f"not fetched: backfill.source is {source}"
            self._settle(fill)

    def watch(self, messages: Messages) -> None:
        """On the hot path: what comes while gaps are filled."""
        for fill in self._fills:
            fill.watch(messages)

    @property
    def waits(self) -> bool:
        """Whether something is lost and not subscribed again yet."""
        return self._open is not None

    @property
    def asks_upstream(self) -> bool:
        """Whether a replay is under way, which ends with its connection."""
        return self._replay is not None

    def unfilled(self) -> dict[str, int]:
        """Channel → since when something of it is missing that may still come."""
        found: dict[str, int] = {}
        pending = [fill.left for fill in self._fills] + ([self._replay.fill.left] if self._replay else [])
        for spans in (self._spans, *pending):
            for channel, span in spans.items():
                if span.last:
                    found[channel] = min(span.began_ns, found.get(channel, span.began_ns))
        return found

    async def stop(self) -> None:
        """Gives up what is under way; `resumed` asks for it again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._cancelled = list(self._fills)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # From the market-data API

    async def _fetch(self, fill: Fill, credentials: Credentials) -> None:
        settings = self._settings.backfill
        await asyncio.sleep(settings.settle_seconds)
        fill.seen |= await asyncio.to_thread(keys, fill.texts)
        fill.texts.clear()
        for channel, span in list(fill.left.items()):
            if channel in settings.channels:
                fill.gap.channels[channel].result = await self._fetch_channel(fill, channel, span, credentials)
            else:
                why = (
                    "backfill.channels leaves it out"
                    if channel in self._endpoint.fetchable
                    else "the API has none of the past"
                )
                fill.gap.channels[channel].result = f"not fetched: {why}"
            del fill.left[channel]
        self._fills.remove(fill)
        self._settle(fill)

    async def _fetch_channel(self, fill: Fill, channel: str, span: Span, credentials: Credentials) -> str:
        """What came of it."""
        gap, settings = fill.gap, self._settings.backfill

        def emit(messages: Sequence[Message]) -> None:
            self._count(gap, messages)
            self._take(Messages.of(messages), time.time_ns(), True)

        history = History(self._endpoint.history, settings, credentials)
        longest = gap.ended_ns - int(settings.longest_seconds * SECOND)
        starts, cut = dict(span.starts), 0
        for symbol, start in starts.items():
            if start < longest:
                cut += span.last[symbol] < longest
                starts[symbol] = longest
        # From when messages come to the time that they bear: a bar is published when its minute is over, and bears that
        # of its beginning.
        older = self._delay_ns + (MINUTE if channel == "bars" else 0)
        starts = {symbol: start - older for symbol, start in starts.items()}
        # Our clock may be behind the exchange's. What came live since is known by its key, if there was time for it.
        end = gap.ended_ns - older + min(CLOCKS_NS, int(settings.settle_seconds * SECOND))
        try:
            await fetch(channel, starts, end, fill.seen, history, emit)
        except BackfillError as error:
            gap.error = str(error)
            return f"failed: {error}"
        except Exception as error:  # a mistake of ours: the gap must not look as if it were still being filled
            _log.exception("a fetch after a gap failed", extra={"channel": channel})
            gap.error = f"{type(error).__name__}: {error}"
            return f"failed: {gap.error}"
        if self._endpoint.trading:
            return "filled in part: fills; Alpaca has no past of other events of orders"
        if cut:
            return f"filled in part: the last {settings.longest_seconds:.0f} s only, for {cut} symbols"
        if span.left_out:
            return f"filled in part: {len(starts)} symbols, and {span.left_out} more were seen"
        return FILLED

    # From a server like this one

    async def _ask_for_replay(self, replay: Replay) -> None:
        replay.known = await asyncio.to_thread(raws, replay.fill.texts)
        replay.fill.texts.clear()
        self._ask_next(replay)

    def _ask_next(self, replay: Replay) -> None:
        if replay is not self._replay:
            return  # the connection was lost meanwhile
        if not replay.ask():
            self._replay = None
            self._settle(replay.fill)

    def sift(self, messages: Messages) -> Messages:
        """While the upstream replays: without what had come before the gap, the rest marked."""
        replay = self._replay
        assert replay is not None
        fresh = []
        for message in messages:
            if replay.known[bare(message.raw)] > 0:
                replay.known[bare(message.raw)] -= 1
                continue
            fresh.append(Message(message.kind, message.symbol, mark_backfilled(bare(message.raw))))
        self._count(replay.fill.gap, fresh)
        return Messages.of(fresh)

    def told(self, message: Mapping[str, Any]) -> None:
        """A control message while a replay is asked for: its beginning, its end, or its refusal."""
        replay = self._replay
        if replay is None or not replay.asked:
            return
        if message.get("msg") == "replaying":
            replay.begun = True
            return
        if message.get("msg") == "replayed":
            missing = message.get("missing")
            why = missing.get(replay.channel) if isinstance(missing, Mapping) else None
            replay.answered(f"filled in part: the upstream says: {why}" if why else FILLED)
        elif message.get("T") == "error" and message.get("code") != 405:  # which is about a subscription
            problem = f"the upstream refused to replay: {message.get('code')} {message.get('msg')}"
            replay.fill.gap.error = problem
            replay.answered(f"failed: {problem}")
        else:
            return
        self._ask_next(replay)

    def _carry_over(self, replay: Replay) -> None:
        """The connection is lost again before all was replayed: the rest is part of the new gap."""
        self._replay = None
        for channel, span in replay.fill.left.items():
            replay.fill.gap.channels[channel].result = _LATER
            wider = self._spans.setdefault(channel, Span())
            wider.add(span.last, span.starts, span.began_ns, span.start)
        self._settle(replay.fill)

    # What came of it

    def _count(self, gap: Gap, messages: Sequence[Message]) -> None:
        kinds = Counter(message.kind for message in messages)
        self._state.backfilled.update(kinds)
        gap.bars += kinds["b"]
        gap.trades += kinds["t"]
        for name, channel in gap.channels.items():
            channel.fetched += kinds[KINDS[name]]

    def _settle(self, fill: Fill) -> None:
        """All that can be fetched is, or is known to be missing."""
        gap = fill.gap
        self._tell_unknown(fill)
        results = {name: each.result for name, each in gap.channels.items() if each.result not in ("", _LATER)}
        self._state.settle(gap, results)
        fetched = {name: channel.fetched for name, channel in gap.channels.items() if channel.fetched}
        said = ", ".join(f"{count} {name}" for name, count in fetched.items()) or "nothing"
        self._state.note(f"fetched {said} that {'were' if fetched else 'was'} missed")
        if gap.error:
            self._state.alert("backfill", f"a gap could not be filled: {gap.error}")
            _log.error("a gap could not be filled", extra={"problem": gap.error, "fetched": fetched})
            return
        self._state.clear("backfill")
        _log.info("a gap is settled", extra={"filled": gap.filled, "fetched": fetched, "missing": gap.missing})

    def _tell_unknown(self, fill: Fill) -> None:
        """A halt may lie in the gap: whoever listens to statuses or LULDs is told that they are unknown."""
        told: list[Message] = []
        for kind in trading.KINDS:
            span, channel = fill.spans.get(CHANNELS[kind]), fill.gap.channels.get(CHANNELS[kind])
            if span is not None and channel is not None:
                if channel.result == FILLED:
                    self._state.trading.find(kind, span.began_ns)
                else:
                    told += self._state.trading.untold(kind, time.time_ns())
        if told:
            self._take(Messages.of(told), time.time_ns(), False)
