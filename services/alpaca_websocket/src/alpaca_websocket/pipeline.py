# SPDX-License-Identifier: GPL-3.0-or-later
"""One feed, from its upstream connection to its store and its router. A server has one for each upstream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter

from . import __version__
from .downstream.latest import Latest
from .downstream.router import Router
from .downstream.served import Served
from .observe.losses import EVERY_CHANNEL
from .observe.state import Phase, State
from .protocol import BACKFILLED, CHANNELS, Messages
from .settings import Credentials, Settings, Upstream, credentials
from .store import Store, Stored, StoreUnavailable
from .upstream import calendar
from .upstream import position as positions
from .upstream.feed import Feed
from .upstream.gaps import kept_kinds
from .upstream.position import Position

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
# Of what is stored, this much before the last position is looked at, to know what came last before a stop …
_LOOK_BACK_NS = 30 * 10**9
# … but no more than this, even where a gap had not been filled yet.
_LONGEST_LOOK_BACK_NS = 300 * 10**9
_POSITION_SECONDS = 1.0
# How long messages took to become durable is recorded for those of a millisecond at once, as of the first of them.
_COUNTED_TOGETHER_NS = 1_000_000
_AFTER_A_MISTAKE = 10.0  # seconds; of ours, which no back-off knows of


class Pipeline:
    """`open`, then `start`, then `run`; `close` in any case."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self.name = upstream.name
        self._upstream = upstream
        self._store_settings = settings.store_of(upstream)
        self.state = State()
        self.state.version, self.state.upstream_url = __version__, upstream.url
        self.router = Router(self.state, lambda: self._feed.changed() if self._feed else None)
        self.latest = Latest()
        self._store: Store | None = None
        self._feed: Feed | None = None
        self._head = 0
        self.safe: Position | None = None  # up to where all is durable
        self._refusing = ""
        self._on_the_way: deque[list[int]] = deque()  # last sequence, first received, messages: not durable yet

    async def open(self) -> None:
        """Waits until no other process of this host has the store."""
        self.state.enter(Phase.STANDBY, "waiting for the store")
        while self._store is None:
            try:
                self._store = await asyncio.to_thread(Store.open, self._store_settings)
            except StoreUnavailable as error:
                self.state.enter(Phase.STANDBY, str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            except Exception as error:  # of this directory: the other feeds run
                problem = f"the store in {self._store_settings.directory} cannot be opened: {error}"
                if self.state.alerts.get("store") != problem:
                    _log.exception("a store cannot be opened and is tried again", extra={"feed": self.name})
                self.state.enter(Phase.WAITING, problem)
                self.state.alert("store", problem)
                await asyncio.sleep(_RETRY_SECONDS)
        self.state.clear("store")
        self.state.store = self._store.stats
        self._store.on_durable(self._on_durable(asyncio.get_running_loop()))
        self._head = self._store.recovery.next_sequence - 1

    def late(self) -> None:
        """The other feeds serve, and this one still has no store."""
        if self._store is None and "store" not in self.state.alerts:
            self.state.alert("store", f"other feeds are served, this one still waits: {self.state.phase_detail}")

    def served(self) -> Served:
        """What clients are told of it."""
        return Served(
            self.name,
            self._upstream.endpoint,
            self.state,
            self.router,
            lambda: self._head,
            lambda: self._store,
            self.latest,
        )

    async def start(
        self, on_refused: Callable[[Mapping[str, set[str]]], None], inherited: Position | None = None
    ) -> None:
        """Makes the feed ready to run, with what came last before a stop, here or on the host that had it."""
        assert self._store is not None
        sessions = await self._load_calendar()
        self._feed = Feed(
            self._upstream, self.state, sessions, self._credentials, self.router.wanted, self._sink, on_refused
        )
        await self._look_back(self._store, self._feed, inherited)

    async def run(self) -> None:
        """Until cancelled. A mistake of ours in one feed does not take the others with it."""
        assert self._feed is not None
        while True:
            try:
                await self._feed.run()
            except Exception as error:
                _log.exception("a feed failed and is started again", extra={"feed": self.name})
                self.state.alert("feed", f"the feed failed and was started again: {type(error).__name__}: {error}")
                self.state.enter(Phase.WAITING, "a mistake in the server; it is in the log")
            await asyncio.sleep(_AFTER_A_MISTAKE)

    def reload(self) -> None:
        """Keys are read anew; a halt ends."""
        self.state.clear("feed")
        self.state.clear("stored")
        if self._feed is not None:
            self._feed.reload()

    def close(self) -> None:
        """Blocks until all is durable."""
        if self._store is None:
            return
        try:
            self._store.close()
        except StoreUnavailable as error:
            _log.error("the store could not be closed in order", extra={"feed": self.name, "problem": str(error)})

    async def _load_calendar(self) -> calendar.Calendar:
        try:
            return await calendar.load(self._upstream.calendar)
        except (calendar.CalendarError, OSError) as error:
            # Silence goes unnoticed then; pings still find a dead connection.
            self.state.alert("calendar", str(error))
            return calendar.Calendar([])

    async def _credentials(self) -> Credentials:
        return await asyncio.to_thread(credentials, self._upstream)

    async def _look_back(self, store: Store, feed: Feed, inherited: Position | None) -> None:
        """Tells the feed what was stored last, here or by whoever had the feed, so that it fetches what followed."""
        directory = self._store_settings.directory
        own = await asyncio.to_thread(positions.read, directory)
        position = positions.later(own, inherited)
        losses = self.state.losses
        losses.restore(own.losses if own else (), (own.known_ns if own else 0) or time.time_ns())
        losses.forget_before(await asyncio.to_thread(store.pruned_ns))
        if position is inherited and inherited is not None:
            why = f"not stored here: {inherited.host} had the feed"
            losses.add(EVERY_CHANNEL, own.at_ns if own else 0, inherited.at_ns, why)
        newest: Stored | None = None
        try:
            newest = await self._remember(store, feed, own if position is own else None)
        except Exception as error:  # of the disk, or pyarrow's of a damaged file: neither must keep a feed from running
            _log.exception("what was stored last cannot be read", extra={"feed": self.name})
            self.state.alert("stored", f"what was stored last cannot be read: {type(error).__name__}: {error}")
            feed.remember((), time.time_ns())
        if position is not None:
            self.safe = position
            reason = f"taken over from {position.host}" if position is inherited else "the server was not running"
            feed.resume(position, reason, own=position is own)
        elif newest is not None:
            feed.resume_from(newest.received_ns)

    async def _remember(self, store: Store, feed: Feed, own: Position | None) -> Stored | None:
        """Tells the feed what came last, so that none of it is taken for missing; returns the last message."""
        last = store.recovery.next_sequence - 1
        newest = await asyncio.to_thread(lambda: next(iter(store.replay(CHANNELS, since_sequence=last - 1)), None))
        if newest is not None:
            earliest = own.earliest_ns if own is not None else newest.received_ns
            since = max(min(earliest, newest.received_ns) - _LOOK_BACK_NS, newest.received_ns - _LONGEST_LOOK_BACK_NS)
            stored = store.replay(kept_kinds(self._upstream), since_time=since)
            await asyncio.to_thread(feed.remember, self._shown(_batches(stored)), since)
        return newest

    def _shown(self, batches: Iterable[tuple[int, Messages]]) -> Iterator[tuple[int, Messages]]:
        """The same; clients that ask can be told of them."""
        for received_ns, messages in batches:
            fetched = any(raw.endswith(BACKFILLED) for raw in messages.raws)
            (self.latest.fill if fetched else self.latest.add)(messages)
            yield received_ns, messages

    async def keep_position(self) -> None:
        """Until cancelled: once a second, writes down up to where all is durable."""
        assert self._feed is not None
        while True:
            try:
                if self._store is not None:
                    self.state.losses.forget_before(await asyncio.to_thread(self._store.pruned_ns))
                position, head = self._feed.position(), self._head
                await asyncio.sleep(_POSITION_SECONDS)
                if not self._refusing and self._store is not None and self._store.durable >= head:
                    self.safe = position
                    await asyncio.to_thread(positions.write, self._store_settings.directory, position)
            except Exception as error:  # a mistake of ours: the next start fetches more than it would have to
                _log.exception("the position of a feed cannot be written down", extra={"feed": self.name})
                self.state.alert(
                    "position", f"the feed's position is not written down: {type(error).__name__}: {error}"
                )
                await asyncio.sleep(_AFTER_A_MISTAKE)

    def settle(self) -> None:
        """Makes all durable, and writes down that it is. Blocks."""
        if self._store is None or self._feed is None:
            return
        position = self._feed.position()
        if not self._refusing and self._store.flush():
            self.safe = position
            positions.write(self._store_settings.directory, position)

    # Every message

    def _sink(self, messages: Messages, received_ns: int, backfilled: bool) -> None:
        """On the hot path: keep, then pass on. What cannot be kept is passed on all the same, and said."""
        assert self._store is not None
        try:
            self._head = self._store.append(messages, received_ns)
        except StoreUnavailable as error:
            self._refusing = str(error)
            self.state.dropped["not stored"] += len(messages)
            for kind in messages.kinds:
                self.state.losses.add(CHANNELS.get(kind, kind), received_ns, received_ns, f"not stored: {error}")
            self.state.alert("store", f"messages are not stored: {error}")
        else:
            waiting = self._on_the_way
            if waiting and received_ns - waiting[-1][1] < _COUNTED_TOGETHER_NS:
                waiting[-1][0] = self._head
                waiting[-1][2] += len(messages)
            else:
                waiting.append([self._head, received_ns, len(messages)])
            if self._refusing:
                self._refusing = ""
                self.state.clear("store")
        if backfilled:
            self.latest.fill(messages)
        else:
            self.latest.add(messages)
        self.router.publish(messages, received_ns, backfilled=backfilled)

    def _on_durable(self, loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
        def acknowledge(durable: int) -> None:
            now = time.time_ns()
            while self._on_the_way and self._on_the_way[0][0] <= durable:
                _sequence, received_ns, count = self._on_the_way.popleft()
                self.state.durable_lag.record(now - received_ns, count)

        def tell(durable: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is over, the last commit is not
                loop.call_soon_threadsafe(acknowledge, durable)

        return tell


def _batches(stored: Iterable[Stored]) -> Iterator[tuple[int, Messages]]:
    """As they came."""
    for received_ns, items in groupby(stored, key=attrgetter("received_ns")):
        yield received_ns, Messages.of(item.message for item in items)
