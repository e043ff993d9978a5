# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients ask is worked off a little in each turn of the event loop: however much they ask, the feed goes on.

Requests never take more than about a quarter of the loop's time. Everybody with something to do gets one request done,
then the next one. Those that are authenticated and those that are not have a queue each, from which one is taken by
turns, so that neither crowd keeps the other out.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

_TURN_SECONDS = 0.001  # after this long no other request is begun in this turn
_REST = 3.0  # times as long the loop is then left to others
_LONGEST_REST = 1.0


class Worker(Protocol):
    """A connection with something to do."""

    authenticated: bool

    def work(self) -> bool:
        """Does one thing; returns whether there is more."""


class Turns:
    """Workers in turn."""

    def __init__(self) -> None:
        self._known: deque[Worker] = deque()
        self._unknown: deque[Worker] = deque()
        self._first = True
        self._scheduled = False
        self._not_before = 0.0

    def add(self, worker: Worker) -> None:
        """It has something to do. Once it has said that there is nothing more, it is to be added again."""
        (self._known if worker.authenticated else self._unknown).append(worker)
        if not self._scheduled:
            self._scheduled = True
            self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._not_before - time.perf_counter()
        if pause > 0:
            loop.call_later(pause, self._turn)
        else:
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        now = began = time.perf_counter()
        while now - began < _TURN_SECONDS:
            first, second = (self._known, self._unknown) if self._first else (self._unknown, self._known)
            queue = first or second
            if not queue:
                break
            self._first = not self._first
            worker = queue.popleft()
            if worker.work():
                (self._known if worker.authenticated else self._unknown).append(worker)
            now = time.perf_counter()
        self._not_before = now + min(_REST * (now - began), _LONGEST_REST)
        self._scheduled = bool(self._known or self._unknown)
        if self._scheduled:
            self._schedule()
