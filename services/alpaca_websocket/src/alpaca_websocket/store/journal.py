# SPDX-License-Identifier: GPL-3.0-or-later
"""The write-ahead journal: messages are handed over in memory, and a thread makes them durable together.

Where much comes, the thread writes most of it before the commit that makes it durable: on a core that it shares with
the event loop, many short turns delay nobody, one long turn does.

After a failed write or fsync the segment is never written to again: what of it reached the disk is unknown. All that
wasn't durable yet is kept in memory and goes into a fresh segment as soon as there is room.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from alpaca_websocket.protocol import Messages
from alpaca_websocket.store.layout import Layout, sync_directory
from alpaca_websocket.store.records import Batch, encode, seed
from alpaca_websocket.store.settings import StoreSettings

log = logging.getLogger(__name__)

RECHECK_SECONDS = 1.0  # how often the free disk is looked at, and a fresh segment is tried after a failure
RECORD_BATCHES = 512  # in one record at most: with what joins them, as many pieces as the kernel writes at once
_TURNS = 4  # from one commit to the next
_AHEAD_ROWS = 256  # fewer messages are left for the commit
_NICE = 10  # the event loop's core is the event loop's first
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Clock(Protocol):
    """The part of the module `time` that the store uses."""

    def time_ns(self) -> int: ...

    def monotonic(self) -> float: ...


class StoreUnavailable(OSError):
    """The store refuses messages: the disk is full or fails, or it can't keep up. What it has acknowledged is safe."""


class Journal:
    """Appends on one thread (the event loop's), commits on its own."""

    def __init__(
        self, layout: Layout, settings: StoreSettings, first: int, *, clock: Clock, on_sealed: Callable[[], None]
    ) -> None:
        self.durable = self.sequence = first - 1
        self.refusal = ""
        self.error = ""
        self.commits = 0
        self.slowest_commit = 0.0
        self.disk_free = 0
        self._layout, self._settings, self._clock, self._on_sealed = layout, settings, clock, on_sealed
        self._pending: deque[Batch] = deque()
        self._callbacks: list[Callable[[int], None]] = []
        self._advanced = threading.Condition()
        self._wake = threading.Event()
        self._closing = False
        self._descriptor = -1
        self._first = first
        self._size = 0  # bytes of it that are durable
        self._written = first - 1  # sequence number of the last message in it, and the bytes up to there
        self._written_size = 0
        self._began = self._checked = clock.monotonic()
        self._check_disk()
        self._open(first)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, messages: Messages, received_ns: int) -> int:
        """Takes messages in. Returns the last one's number.

        Not durable yet: that is what `durable` and the callbacks tell. Raises StoreUnavailable.
        """
        if self.refusal:
            raise StoreUnavailable(self.refusal)
        if not messages:
            return self.sequence
        first = self.sequence + 1
        self.sequence += len(messages)
        self._pending.append(Batch(first, received_ns, len(messages), messages.text))
        if self.sequence - self.durable > self._settings.max_pending_messages:
            self._refuse("the disk does not keep up")
        return self.sequence

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """Calls back after every commit with the highest durable sequence number, in the journal's thread."""
        self._callbacks.append(callback)

    def pending(self) -> list[Batch]:
        """What is accepted and not in a file for certain yet, oldest first."""
        return list(self._pending)

    def flush(self, timeout: float = 10.0) -> bool:
        """Commits now; whether all that was appended before is durable."""
        target = self.sequence
        self._wake.set()
        with self._advanced:
            return self._advanced.wait_for(lambda: self.durable >= target, timeout)

    def close(self) -> None:
        """Commits and seals. Raises StoreUnavailable if what is pending can't be made durable."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        if self._pending:
            lost = sum(batch.rows for batch in self._pending)
            raise StoreUnavailable(f"{lost} messages that were not acknowledged could not be stored: {self.error}")

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            while not self._closing:
                for _ in range(_TURNS):
                    if self._wake.wait(self._settings.commit_milliseconds / 1000 / _TURNS):
                        break
                    self._write_ahead()
                self._wake.clear()
                self._step()
            self._step()
            if self._descriptor >= 0:
                self._seal()
        except Exception as error:
            self.error = str(error)
            self._refuse(f"the journal stopped: {error}")
            raise

    def _step(self) -> None:
        now = self._clock.monotonic()
        try:
            if self._descriptor < 0 and (now - self._checked >= RECHECK_SECONDS or self._closing):
                self._checked = now
                self._open(self.durable + 1)
            if self._pending and self._descriptor >= 0:
                self._commit(now)
            if self._size >= self._settings.segment_bytes or (
                self._size and now - self._began >= self._settings.segment_seconds
            ):
                self._roll()
            if now - self._checked >= RECHECK_SECONDS:
                self._checked = now
                self._check_disk()
        except OSError as error:
            self._fail(error)

    def _write_ahead(self) -> None:
        if self.sequence - self._written >= _AHEAD_ROWS and self._descriptor >= 0:
            try:
                self._write()
            except OSError as error:
                self._fail(error)

    def _write(self) -> None:
        """Writes what is pending and not in the segment yet; it is not durable by that."""
        batches = [batch for batch in self.pending() if batch.first > self._written]
        start = seed(self._first)
        for at in range(0, len(batches), RECORD_BATCHES):
            part = batches[at : at + RECORD_BATCHES]
            self._written_size += _write_all(self._descriptor, encode(part, start, self.durable))
            self._written = part[-1].last

    def _commit(self, now: float) -> None:
        self._write()
        os.fdatasync(self._descriptor)
        self._size = self._written_size
        self.commits += 1
        self.slowest_commit = max(self.slowest_commit, self._clock.monotonic() - now)
        # Durable first, forgotten after: a reader who finds a batch gone from here finds it in the file.
        with self._advanced:
            self.durable = self._written
            self._advanced.notify_all()
        while self._pending and self._pending[0].last <= self.durable:
            self._pending.popleft()
        for callback in self._callbacks:
            try:
                callback(self.durable)
            except Exception:
                log.exception("a callback on durable messages failed")

    def _open(self, first: int) -> None:
        path = self._layout.open_segment(first)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o640)
        self._first, self._size, self._began = first, 0, self._clock.monotonic()
        self._written, self._written_size = first - 1, 0
        sync_directory(self._layout.journal)

    def _roll(self) -> None:
        self._seal()
        self._open(self.durable + 1)

    def _seal(self) -> None:
        """Hands the segment over for rolling into Parquet."""
        path, descriptor = self._layout.open_segment(self._first), self._descriptor
        self._descriptor = -1
        # Beyond the last durable record there may be the remains of a failed write; usually there is nothing.
        os.ftruncate(descriptor, self._size)
        os.close(descriptor)
        if self._size:
            path.rename(self._layout.sealed_segment(self._first, self.durable))
        else:
            path.unlink()
        sync_directory(self._layout.journal)
        self._on_sealed()

    def _fail(self, error: OSError) -> None:
        """Gives the segment up at its last durable record and refuses until a fresh one takes what is pending."""
        self.error = f"{error.strerror or error}"
        self._refuse("disk full" if error.errno in _FULL else f"the disk fails: {self.error}")
        if self._descriptor >= 0:
            with suppress(OSError):
                self._seal()

    def _refuse(self, reason: str) -> None:
        if not self.refusal:
            log.error("the store refuses messages: %s", reason)
        self.refusal = reason

    def _check_disk(self) -> None:
        """Refuses below the reserve, and accepts again with a tenth more, so that it doesn't flap."""
        status = os.statvfs(self._layout.root)
        self.disk_free = status.f_bavail * status.f_frsize
        least = self._settings.min_free_bytes
        if self.disk_free < least:
            self._refuse("disk full")
        elif self.refusal and self._descriptor >= 0 and not self._pending and self.disk_free >= least * 1.1:
            log.warning("the store accepts messages again")
            self.refusal = self.error = ""


def _write_all(descriptor: int, pieces: list[bytes]) -> int:
    """Returns how many bytes that was."""
    size = sum(map(len, pieces))
    written = os.writev(descriptor, pieces)
    if written < size:
        left = memoryview(b"".join(pieces))[written:]
        while left:
            left = left[os.write(descriptor, left) :]
    return size
