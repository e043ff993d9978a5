# SPDX-License-Identifier: GPL-3.0-or-later
"""The replays that run: so many at once, each for one client, told what is missing, and never the end of the server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

from ..protocol import CHANNELS, Pair
from ..store.replay import Damaged
from .connection import Connection
from .replay import History, Since, replay
from .served import Served

_log = logging.getLogger(__name__)
_AT_ONCE = 4
_DAMAGES_SHOWN = 5
_FILLING_SECONDS = 60.0  # a replay to a server of ours waits so long for what is being fetched
_FILLING_TICK = 0.1


class Asked(NamedTuple):
    """One client's question.

    `live`: what the client is subscribed to now → the sequence number after which it gets that live. `to_server`: a
    server of ours asks.
    """

    connection: Connection
    feed: Served
    history: History
    since: Since
    wanted: frozenset[Pair]
    live: Callable[[], Mapping[Pair, int]]
    to_server: bool


class Replays:
    """Those of one server."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)

    def begin(self, asked: Asked) -> asyncio.Task[None] | None:
        """Starts one; None where the client only wanted to know where the feed is, and has been told."""
        held_from = asked.feed.mark()
        if asked.since.sequence >= held_from or asked.since.time_ns > asked.feed.state.clock():
            # Whatever comes after this answer was received after the question.
            asked.connection.tell({"T": "success", "msg": "replayed", "through": held_from})
            return None
        if asked.to_server:
            return asyncio.create_task(self._to_server(asked))
        asked.connection.hold()
        return asyncio.create_task(self._run(asked, held_from))

    async def _to_server(self, asked: Asked) -> None:
        """A server of ours fills a gap: what is being fetched here comes to it live; the replay follows that."""
        channels, give_up = _channels(asked.wanted), time.monotonic() + _FILLING_SECONDS
        while asked.feed.state.filling(asked.since.time_ns, channels) and time.monotonic() < give_up:
            await asyncio.sleep(_FILLING_TICK)
        held_from = asked.feed.mark()
        asked.connection.tell({"T": "success", "msg": "replaying"})  # what it has got so far was live
        asked.connection.hold()
        await self._run(asked, held_from)

    async def _run(self, asked: Asked, held_from: int) -> None:
        connection, feed, since = asked.connection, asked.feed, asked.since
        damaged: dict[Damaged, None] = {}
        try:
            async with self._places:
                since_ns = since.time_ns or await asyncio.to_thread(_received_ns, asked.history, since.sequence)
                missing = partial(feed.state.missing, since_ns, _channels(asked.wanted))
                through = await replay(
                    connection, asked.history, since, asked.wanted, asked.live, feed.mark, held_from, missing, damaged
                )
        except Exception:
            _log.exception("a replay failed", extra={"client": connection.view.name})
            connection.refuse(500)
            # What was held is lost, and the client does not know what: it has to begin anew.
            connection.end(1011, "the replay failed")
            return
        if damaged:
            texts = [f"{each.channel or 'all channels'}: {each}" for each in damaged]
            feed.state.alert("stored", "; ".join(texts[:_DAMAGES_SHOWN]))
            _log.error("a replay left out what is damaged", extra={"files": texts})
        _log.info("replayed", extra={"client": connection.view.name, "through": through})


def _channels(wanted: Collection[Pair]) -> set[str]:
    return {CHANNELS[kind] for kind, _symbol in wanted}


def _received_ns(history: History, sequence: int) -> int:
    """When the message of this number came, or the next one that is stored; 0 for the first of all. Reads files."""
    skipped: list[Damaged] = []  # the replay tells of them
    found = history.replay(CHANNELS, since_sequence=sequence - 1, damaged=skipped.append) if sequence else ()
    return next((item.received_ns for item in found), 0)
