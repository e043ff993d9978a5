# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress lines during a run, rate-limited."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from .pacing import Clock

_INTERVAL = 2.0


class Progress(Protocol):
    """Where the fleet's code says how far it is."""

    def expect(self, what: str, number: int) -> None:
        """So many more are to be `what` (launched, claimed, running …)."""

    def done(self, what: str, number: int = 1) -> None:
        """So many more now are."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""


class Silent:
    """Nobody is watching."""

    def expect(self, what: str, number: int) -> None:
        return

    def done(self, what: str, number: int = 1) -> None:
        return

    def note(self, text: str) -> None:
        return


class ProgressFile:
    """Appends lines to a file that another process shows as they come."""

    def __init__(self, path: str, clock: Clock, interval: float = _INTERVAL) -> None:
        self._path = Path(path)
        self._clock = clock
        self._interval = interval
        self._lock = threading.Lock()
        self._wanted: dict[str, int] = {}
        self._have: dict[str, int] = {}
        self._last = clock.monotonic()

    def expect(self, what: str, number: int) -> None:
        with self._lock:
            self._wanted[what] = self._wanted.get(what, 0) + number

    def done(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._have[what] = self._have.get(what, 0) + number
            complete = self._have[what] >= self._wanted.get(what, 0)
            now = self._clock.monotonic()
            if complete or now - self._last >= self._interval:
                self._last = now
                self._write(self._summary())

    def note(self, text: str) -> None:
        with self._lock:
            self._write(text)

    def _summary(self) -> str:
        return ", ".join(f"{self._have.get(what, 0)} of {number} {what}" for what, number in self._wanted.items())

    def _write(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")
