# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the parts together, and takes them apart in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Coroutine
from functools import partial
from typing import Any

from . import __version__, turns
from .downstream.auth import Tokens, TokensError
from .downstream.server import Server
from .observe import http, systemd
from .observe.state import Arrivals, Phase
from .pipeline import Pipeline
from .settings import Settings, observe_token
from .upstream import lease
from .upstream.position import Position

_log = logging.getLogger(__name__)
_OTHERS_SECONDS = 10.0  # after the first store is open, so long for the others
_LATE_SECONDS = 60.0  # a feed that is not served after so long, while others are, fails its health
_LOST_LEASE = 75  # EX_TEMPFAIL: systemd starts us again, and we wait


class App:
    """One server, with one pipeline for each upstream. `run` returns the exit status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._status = 0
        self._tokens = Tokens(settings.downstream.tokens_file)
        self._pipelines = [Pipeline(settings, upstream) for upstream in settings.upstreams]
        self._arrivals = Arrivals()
        self._states = {pipeline.name: pipeline.state for pipeline in self._pipelines}

    async def run(self) -> int:
        self._handle_signals()
        observe = self._settings.observe
        site, observe_port = await http.start(
            self._states, observe.host, observe.port, token=observe_token(observe), arrivals=self._arrivals
        )
        _log.info("standby", extra={"observe_port": observe_port, "version": __version__})
        beating = asyncio.create_task(systemd.watchdog(lambda: True, self._describe))
        # A standby is ready as well: it does what it is there for.
        systemd.notify("READY=1")
        try:
            await self._until_stopped(self._serve(observe_port))
        finally:
            systemd.notify("STOPPING=1")
            beating.cancel()
            await site.cleanup()
        return self._status

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        self._enter(Phase.STOPPING)
        working.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    async def _serve(self, observe_port: int) -> None:
        """Owns the feeds for as long as it may."""
        opening = {pipeline.name: asyncio.create_task(pipeline.open()) for pipeline in self._pipelines}
        try:
            # Each by itself: a feed whose store is not to be had keeps none of the others from running.
            await asyncio.wait(opening.values(), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(opening.values(), timeout=_OTHERS_SECONDS)
            async with contextlib.AsyncExitStack() as owned:
                held = await self._own(owned)
                await self._go(observe_port, held, opening)
        finally:
            for task in opening.values():
                task.cancel()
            await asyncio.gather(*opening.values(), return_exceptions=True)
            closing = [asyncio.to_thread(pipeline.close) for pipeline in self._pipelines]
            await asyncio.shield(asyncio.gather(*closing))

    async def _go(self, observe_port: int, held: lease.Lease | None, opening: dict[str, asyncio.Task[None]]) -> None:
        served = {
            upstream.path: pipeline.served()
            for upstream, pipeline in zip(self._settings.upstreams, self._pipelines, strict=True)
        }
        server = Server(
            self._settings.downstream, self._tokens, served, self._arrivals, partial(self._alert, "clients")
        )
        inherited = held.inherited if held else {}
        paths = dict(zip((pipeline.name for pipeline in self._pipelines), served, strict=True))

        async def start(pipeline: Pipeline) -> None:
            await pipeline.start(partial(server.warn, paths[pipeline.name]), inherited.get(pipeline.name))

        async def join(pipeline: Pipeline) -> None:
            done, _waiting = await asyncio.wait([opening[pipeline.name]], timeout=_LATE_SECONDS)
            if not done:
                pipeline.late()
                await asyncio.wait([opening[pipeline.name]])
            opening[pipeline.name].result()
            await start(pipeline)
            await asyncio.gather(pipeline.run(), pipeline.keep_position())

        ready = [pipeline for pipeline in self._pipelines if opening[pipeline.name].done()]
        await asyncio.gather(*(start(pipeline) for pipeline in ready))
        late = [pipeline for pipeline in self._pipelines if pipeline not in ready]
        downstream_port = await server.start()
        # What lives as long as the process need not be looked at by the collector ever again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        turns.short()  # now: threads and processes that are started later than this inherit it
        ports = {"downstream_port": downstream_port, "observe_port": observe_port}
        _log.info("ready", extra={**ports, "feeds": {feed.name: path for path, feed in served.items()}})
        tasks = [asyncio.create_task(work()) for each in ready for work in (each.run, each.keep_position)]
        tasks += [asyncio.create_task(join(pipeline)) for pipeline in late]
        if held is not None:
            tasks.append(asyncio.create_task(self._keep(held)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # none ends unless it fails, or the lease is lost
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop()
            await asyncio.gather(*(asyncio.to_thread(pipeline.settle) for pipeline in self._pipelines))

    def _positions(self) -> dict[str, Position]:
        return {pipeline.name: pipeline.safe for pipeline in self._pipelines if pipeline.safe is not None}

    # Who may

    async def _own(self, owned: contextlib.AsyncExitStack) -> lease.Lease | None:
        """Waits for the lease, and gives it back at the end."""
        settings = self._settings.lease
        if not settings.bucket:
            return None
        client = await asyncio.to_thread(lease.client, settings)
        held = lease.Lease(settings, client, positions=self._positions)
        await lease.acquire(held, settings.seconds, partial(self._enter, Phase.STANDBY))
        owned.push_async_callback(asyncio.to_thread, held.release)
        _log.info("the lease is ours", extra={"owner": held.owner})
        return held

    async def _keep(self, held: lease.Lease) -> None:
        await lease.keep(held, self._settings.lease.seconds, partial(self._alert, "lease"))
        _log.error("the lease is another's now")
        self._status = _LOST_LEASE

    # What concerns all feeds

    def _enter(self, phase: Phase, detail: str = "") -> None:
        for state in self._states.values():
            state.enter(phase, detail)

    def _alert(self, name: str, text: str) -> None:
        """Raises a condition, or with an empty text ends it."""
        for state in self._states.values():
            if text:
                state.alert(name, text)
            else:
                state.clear(name)

    # The process

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        try:
            self._tokens.reload()
            self._alert("tokens", "")
        except TokensError as error:
            self._alert("tokens", str(error))
        for pipeline in self._pipelines:
            pipeline.reload()

    def _describe(self) -> str:
        """For systemctl status."""
        found = []
        for name, state in self._states.items():
            detail = f" ({state.phase_detail})" if state.phase_detail else ""
            found.append(
                f"{name} {state.phase.value}{detail}, {len(state.clients)} clients, {state.received_total} messages"
            )
        return "; ".join(found)
