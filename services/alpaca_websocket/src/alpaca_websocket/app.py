# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the parts together, and takes them apart in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from . import __version__
from .downstream.auth import Tokens, TokensError
from .downstream.router import Router
from .downstream.server import Server
from .observe import http, systemd
from .observe.state import Phase, State
from .protocol import CHANNELS, Messages
from .settings import Credentials, Settings, credentials
from .store import Store, StoreUnavailable
from .upstream import calendar, lease
from .upstream.feed import Feed

_log = logging.getLogger(__name__)
_LOST_LEASE = 75  # EX_TEMPFAIL: systemd starts us again, and we wait
_RETRY_SECONDS = 1.0
# Of what is stored, this much is looked at to know what came last before a stop.
_LOOK_BACK_NS = 120 * 10**9
# How long messages took to become durable is recorded for those of a millisecond at once, as of the first of them.
_COUNTED_TOGETHER_NS = 1_000_000


class App:
    """One server. `run` returns the exit status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = State()
        self._state.version = __version__
        self._state.upstream_url = settings.upstream.url
        self._stop = asyncio.Event()
        self._status = 0
        self._store: Store | None = None
        self._feed: Feed | None = None
        self._tokens = Tokens(settings.downstream.tokens_file)
        self._router = Router(self._state, lambda: self._feed.changed() if self._feed else None)
        self._head = 0
        self._refusing = ""
        self._on_the_way: deque[list[int]] = deque()  # last sequence, first received, messages: not durable yet

    async def run(self) -> int:
        self._handle_signals()
        runner, observe_port = await http.start(self._state, self._settings.observe.host, self._settings.observe.port)
        _log.info("standby", extra={"observe_port": observe_port, "version": __version__})
        beating = asyncio.create_task(systemd.watchdog(lambda: True, self._describe))
        # A standby is ready as well: it does what it is there for.
        systemd.notify("READY=1")
        try:
            await self._until_stopped(self._serve(observe_port))
        finally:
            systemd.notify("STOPPING=1")
            beating.cancel()
            await runner.cleanup()
        return self._status

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        self._state.enter(Phase.STOPPING)
        working.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    async def _serve(self, observe_port: int) -> None:
        """Owns the feed for as long as it may."""
        self._state.enter(Phase.STANDBY, "waiting for the store")
        store = self._store = await self._open_store()
        try:
            self._state.store = store.stats
            store.on_durable(self._on_durable(asyncio.get_running_loop()))
            async with contextlib.AsyncExitStack() as owned:
                held = await self._own(owned)
                await self._go(store, observe_port, held)
        finally:
            await asyncio.shield(asyncio.to_thread(_close, store))

    async def _go(self, store: Store, observe_port: int, held: lease.Lease | None) -> None:
        settings = self._settings
        sessions = await self._load_calendar()
        self._head = store.recovery.next_sequence - 1
        feed = self._feed = Feed(
            settings.upstream,
            self._state,
            sessions,
            self._credentials,
            self._router.wanted,
            self._sink,
            lambda refused: server.warn(refused),
        )
        server = Server(settings.downstream, self._tokens, self._state, self._router, lambda: self._head, store)
        await self._look_back(store, feed)
        downstream_port = await server.start()
        # What lives as long as the process need not be looked at by the collector ever again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        _log.info("ready", extra={"downstream_port": downstream_port, "observe_port": observe_port})
        tasks = [asyncio.create_task(feed.run())]
        if held is not None:
            tasks.append(asyncio.create_task(self._keep(held)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # neither ends unless it fails, or the lease is lost
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop()

    # Who may

    async def _open_store(self) -> Store:
        """Waits until no other process of this host has the store."""
        while True:
            try:
                return await asyncio.to_thread(Store.open, self._settings.store)
            except StoreUnavailable as error:
                self._state.enter(Phase.STANDBY, str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def _own(self, owned: contextlib.AsyncExitStack) -> lease.Lease | None:
        """Waits for the lease, and gives it back at the end."""
        settings = self._settings.lease
        if not settings.bucket:
            return None
        held = lease.Lease(settings, await asyncio.to_thread(lease.client, settings))
        await lease.acquire(held, settings.seconds, lambda why: self._state.enter(Phase.STANDBY, why))
        owned.push_async_callback(asyncio.to_thread, held.release)
        _log.info("the lease is ours", extra={"owner": held.owner})
        return held

    async def _keep(self, held: lease.Lease) -> None:
        def trouble(text: str) -> None:
            if text:
                self._state.alert("lease", text)
            else:
                self._state.clear("lease")

        await lease.keep(held, self._settings.lease.seconds, trouble)
        _log.error("the lease is another's now")
        self._status = _LOST_LEASE

    async def _load_calendar(self) -> calendar.Calendar:
        try:
            return await calendar.load(self._settings.upstream.calendar)
        except (calendar.CalendarError, OSError) as error:
            # Silence goes unnoticed then; pings still find a dead connection.
            self._state.alert("calendar", str(error))
            return calendar.Calendar([])

    async def _credentials(self) -> Credentials:
        return await asyncio.to_thread(credentials, self._settings.upstream)

    async def _look_back(self, store: Store, feed: Feed) -> None:
        """Tells the feed what was stored last, so that it fetches what came while nobody listened."""
        last = store.recovery.next_sequence - 1
        newest = await asyncio.to_thread(lambda: next(iter(store.replay(CHANNELS, since_sequence=last - 1)), None))
        if newest is None:
            return
        stored = store.replay(("b", "t"), since_time=newest.received_ns - _LOOK_BACK_NS)
        messages = await asyncio.to_thread(lambda: [item.message for item in stored])
        feed.resume_from(newest.received_ns, messages)

    # Every message

    def _sink(self, messages: Messages, received_ns: int, backfilled: bool) -> None:
        """On the hot path: keep, then pass on. What cannot be kept is passed on all the same, and said."""
        assert self._store is not None
        try:
            self._head = self._store.append(messages, received_ns)
        except StoreUnavailable as error:
            self._refusing = str(error)
            self._state.dropped["not stored"] += len(messages)
            self._state.alert("store", f"messages are not stored: {error}")
        else:
            waiting = self._on_the_way
            if waiting and received_ns - waiting[-1][1] < _COUNTED_TOGETHER_NS:
                waiting[-1][0] = self._head
                waiting[-1][2] += len(messages)
            else:
                waiting.append([self._head, received_ns, len(messages)])
            if self._refusing:
                self._refusing = ""
                self._state.clear("store")
        if not backfilled or self._settings.downstream.deliver_backfilled:
            self._router.publish(messages, received_ns)

    def _on_durable(self, loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
        def acknowledge(durable: int) -> None:
            now = time.time_ns()
            while self._on_the_way and self._on_the_way[0][0] <= durable:
                _sequence, received_ns, count = self._on_the_way.popleft()
                self._state.durable_lag.record(now - received_ns, count)

        def tell(durable: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is over, the last commit is not
                loop.call_soon_threadsafe(acknowledge, durable)

        return tell

    # The process

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        try:
            self._tokens.reload()
            self._state.clear("tokens")
        except TokensError as error:
            self._state.alert("tokens", str(error))
        if self._feed is not None:
            self._feed.reload()

    def _describe(self) -> str:
        state = self._state
        detail = f" ({state.phase_detail})" if state.phase_detail else ""
        return f"{state.phase.value}{detail}, {len(state.clients)} clients, {state.received_total} messages"


def _close(store: Store) -> None:
    try:
        store.close()
    except StoreUnavailable as error:
        _log.error("the store could not be closed in order", extra={"problem": str(error)})
