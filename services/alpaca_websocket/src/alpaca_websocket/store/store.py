# SPDX-License-Identifier: GPL-3.0-or-later
"""The store as the server sees it: append, what is durable, read back, figures, close."""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from alpaca_websocket.store import replay
from alpaca_websocket.store.journal import Clock, Journal, StoreUnavailable
from alpaca_websocket.store.layout import Layout
from alpaca_websocket.store.recovery import RecoveryReport, recover
from alpaca_websocket.store.settings import StoreSettings
from alpaca_websocket.store.status import WorkerStatus

log = logging.getLogger(__name__)

LOCK_SECONDS = 5.0  # a server that is being stopped needs a moment
_PACKAGES = Path(__file__).resolve().parents[2]


class StoreStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one moment. The worker's are those of its last round, counted since it began."""

    state: str
    """Either "ok" or why messages are refused: "disk full", …"""
    sequence: int
    durable: int
    commits: int
    slowest_commit_seconds: float
    disk_free: int
    last_error: str
    worker_restarts: int
    worker: WorkerStatus


class Left(NamedTuple):
    """What a stop left for the next start: journal segments to roll, and files to upload."""

    segments: int
    files: int


class Store:
    """See `open`. Methods may be called from any thread, `append` from one only."""

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        self._settings = settings
        self._layout = Layout(settings.directory)
        self._layout.create()
        self._lock = _lock(self._layout.lock)
        try:
            self.recovery: RecoveryReport = recover(self._layout, clock.time_ns())
            log.log(logging.INFO if self.recovery.clean else logging.WARNING, "%s", self.recovery)
            self._journal = Journal(
                self._layout,
                settings,
                self.recovery.next_sequence,
                clock=clock,
                on_sealed=lambda: self._tell(b"wake\n"),
            )
            self.append = self._journal.append  # no detour in the hot path
            self._status = WorkerStatus()
            self._restarts = 0
            self._closing = threading.Event()
            self._process = self._start()
            self._watcher = threading.Thread(target=self._watch, name="store-worker", daemon=True)
            self._watcher.start()
        except BaseException:
            # Whoever opens it again must not find it locked by this attempt.
            if (journal := getattr(self, "_journal", None)) is not None:
                with suppress(StoreUnavailable):
                    journal.close()
            os.close(self._lock)
            raise

    @classmethod
    def open(cls, settings: StoreSettings, *, clock: Clock = time) -> Store:
        """Opens the directory, recovers what a crash left, and starts the worker.

        Raises StoreUnavailable when another process has it, OSError when it can't be used.
        """
        return cls(settings, clock)

    @property
    def durable(self) -> int:
        """The highest sequence number that survives a power loss: this is what "acknowledged" means."""
        return self._journal.durable

    @property
    def worker_pid(self) -> int:
        return self._process.pid

    def on_durable(self, callback: Callable[[int], None]) -> None:
        """Calls back after every commit with `durable`, in another thread."""
        self._journal.on_durable(callback)

    def flush(self, timeout: float = 10.0) -> bool:
        """Makes durable what was appended; False if that took too long."""
        return self._journal.flush(timeout)

    def replay(
        self,
        kinds: Collection[str],
        symbols: Collection[str] | None = None,
        *,
        since_sequence: int = 0,
        since_time: int = 0,
        damaged: Callable[[replay.Damaged], None] = replay.refuse,
    ) -> Iterator[replay.Stored]:
        """All stored messages of these kinds and symbols (None: of all) that came after a sequence number, or at or
        after a time of arrival (ns since 1970), in their order, up to the last one appended at the time of the call.

        Reads files: not for the event loop's thread. `damaged` is told of what cannot be read, and all else is read; by
        default that raises DamagedError.
        """
        # Pending first: what isn't in this copy is in a file.
        pending = self._journal.pending()
        through = pending[0].first - 1 if pending else self._journal.durable
        wanted = replay.Wanted(kinds, symbols, since_sequence, since_time, damaged)
        return replay.read(self._layout, wanted, through, pending)

    def pruned_ns(self) -> int:
        """Up to when something that came may have been deleted; 0: nothing was."""
        try:
            return self._layout.pruned.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def stats(self) -> StoreStats:
        journal, worker = self._journal, self._status
        return StoreStats(
            state=journal.refusal or "ok",
            sequence=journal.sequence,
            durable=journal.durable,
            commits=journal.commits,
            slowest_commit_seconds=journal.slowest_commit,
            disk_free=journal.disk_free,
            last_error=journal.error or worker.trouble(),
            worker_restarts=self._restarts,
            worker=worker,
        )

    def close(self) -> Left:
        """Makes all durable, seals the segment, and lets the worker finish within `close_seconds`. Tells what it left.

        Raises StoreUnavailable if something could not be made durable.
        """
        try:
            self._journal.close()
        finally:
            self._closing.set()
            self._tell(b"stop\n")
            try:
                self._process.wait(self._settings.close_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()  # the next start goes on where it stood
                self._process.wait()
            self._watcher.join()
            left = self._left()
            os.close(self._lock)
        return left

    def _left(self) -> Left:
        """What the worker did not finish."""
        layout = self._layout
        waiting = [*layout.rolled(layout.outbox), *layout.rolled(layout.daily)] if self._settings.bucket else []
        left = Left(len(layout.segments()), len(waiting))
        if any(left):
            log.warning(
                "the store in %s is closed with %d journal segments not in Parquet and %d files not in the bucket; "
                "the next start goes on with them",
                *(self._layout.root, *left),
            )
        return left

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "alpaca_websocket.store"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        _write(process, msgspec.json.encode(self._settings) + b"\n")
        return process

    def _tell(self, command: bytes) -> None:
        process = getattr(self, "_process", None)  # none yet when the journal begins
        if process is not None:
            _write(process, command)

    def _watch(self) -> None:
        """Takes in the worker's status, reports its errors once each, and starts it again if it ends."""
        said = ""
        while True:
            assert self._process.stdout
            for line in self._process.stdout:
                self._status = status = msgspec.json.decode(line, type=WorkerStatus)
                error = status.trouble()
                if error != said:
                    said = error
                    log.log(logging.ERROR if error else logging.INFO, "store worker: %s", error or "all is well again")
            code = self._process.wait()
            if self._closing.is_set():
                return
            log.error("the store's worker ended with status %s and is started again", code)
            if self._closing.wait(min(60.0, 0.1 * 2 ** min(self._restarts, 10))):
                return
            self._process = self._start()
            self._restarts += 1


def _write(process: subprocess.Popen[bytes], line: bytes) -> None:
    """To its input, past the buffer: what a process that is gone does not take must not be tried again later."""
    assert process.stdin
    with suppress(OSError, ValueError):
        os.write(process.stdin.fileno(), line)


def _lock(path: Path) -> int:
    """Takes the directory for this process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(descriptor)
                raise StoreUnavailable(f"{path.parent} belongs to another running server") from None
            time.sleep(0.05)
