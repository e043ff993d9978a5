# SPDX-License-Identifier: GPL-3.0-or-later
"""From the loss of the feed to the last of its messages fetched."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..observe.state import Gap, State
from ..protocol import Message, Messages, mark_backfilled, rfc3339
from ..settings import Credentials, Upstream
from .backfill import BackfillError, fetch
from .link import Link
from .recent import Key, Recent
from .subscriptions import Channels

_log = logging.getLogger(__name__)
_OVERLAP_NS = 2_000_000_000


class Filler:
    """
    :param take: takes what was fetched, when, and that it was
    """

    def __init__(
        self, settings: Upstream, state: State, recent: Recent, take: Callable[[Messages, int, bool], None]
    ) -> None:
        self._settings, self._state, self._recent, self._take = settings, state, recent, take
        self._open: Gap | None = None
        self._seen: set[Key] = set()
        self._raws: Counter[bytes] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gap = Gap(0, "")
        self.replaying = False

    def opened(self, gap: Gap) -> None:
        """The feed is lost, perhaps once more before it was whole again."""
        self._open = gap
        self.replaying = False
        if self._settings.backfill.source == "rest":
            self._seen |= self._recent.keys()
        else:
            self._raws = self._recent.raws()

    def resumed(self, now_ns: int, subscribed: Channels, credentials: Credentials, link: Link | None) -> None:
        """The feed is back: fetch what was missed."""
        gap, self._open = self._open, None
        if gap is None:
            return
        gap.ended_ns = now_ns
        seconds = (now_ns - gap.began_ns) / 1e9
        self._state.note(f"the feed is back after {seconds:.1f} s")
        _log.info("the feed is back", extra={"reason": gap.reason, "seconds": round(seconds, 3)})
        if self._settings.backfill.source == "rest":
            seen, self._seen = self._seen, set()
            task = asyncio.create_task(self._fetch(gap, subscribed, seen, credentials))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._settings.backfill.source == "replay" and link is not None:
            self._gap, self.replaying = gap, True
            channels = {name: sorted(symbols) for name, symbols in subscribed.items()}
            link.send({"action": "replay", "since": rfc3339(gap.began_ns - _OVERLAP_NS), **channels})

    def sift(self, messages: Messages) -> Messages:
        """While the upstream replays: without what had come before the gap, the rest marked."""
        fresh = []
        for message in messages:
            if self._raws[message.raw] > 0:
                self._raws[message.raw] -= 1
                continue
            marked = message.raw if b'"backfilled":true' in message.raw else mark_backfilled(message.raw)
            fresh.append(Message(message.kind, message.symbol, marked))
        self._count(self._gap, fresh)
        return Messages.of(fresh)

    def told(self, message: Mapping[str, Any]) -> None:
        """A control message while the upstream replays: the end of it, or its refusal."""
        if message.get("msg") == "replayed":
            self.replaying = False
            self._gap.filled = True
            self._state.clear("backfill")
            self._said(self._gap)
        elif message.get("T") == "error":
            self.replaying = False
            self._failed(self._gap, f"the upstream refused to replay: {message.get('code')} {message.get('msg')}")

    async def stop(self) -> None:
        """Gives up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fetch(self, gap: Gap, subscribed: Channels, seen: set[Key], credentials: Credentials) -> None:
        settings = self._settings.backfill
        await asyncio.sleep(settings.settle_seconds)
        seen |= self._recent.keys()  # and what has come since

        def emit(messages: Sequence[Message]) -> None:
            self._count(gap, messages)
            self._take(Messages.of(messages), time.time_ns(), True)

        symbols = {name: self._named(subscribed.get(name, set())) for name in ("bars", "trades")}
        try:
            await fetch(gap, symbols, seen, settings, credentials, emit)
        except BackfillError as error:
            self._failed(gap, str(error))
            return
        gap.filled = True
        self._state.clear("backfill")
        self._said(gap)

    def _named(self, symbols: set[str]) -> set[str]:
        """What `*` stands for: the symbols that were seen, as many as the settings allow."""
        if "*" not in symbols:
            return symbols
        seen = self._state.symbols or self._recent.symbols()
        return {name for name, _count in seen.most_common(self._settings.backfill.max_symbols)}

    def _count(self, gap: Gap, messages: Sequence[Message]) -> None:
        kinds = Counter(message.kind for message in messages)
        self._state.backfilled.update(kinds)
        if self._settings.backfill.source == "replay":
            gap.bars += kinds["b"]
            gap.trades += kinds["t"]

    def _failed(self, gap: Gap, problem: str) -> None:
        gap.error = problem
        self._state.alert("backfill", f"a gap could not be filled: {problem}")
        _log.error("a gap could not be filled", extra={"problem": problem})

    def _said(self, gap: Gap) -> None:
        self._state.note(f"fetched {gap.bars} bars and {gap.trades} trades that were missed")
        _log.info("a gap is filled", extra={"bars": gap.bars, "trades": gap.trades})
