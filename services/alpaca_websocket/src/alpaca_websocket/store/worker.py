# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's second process, of low priority: rolls, uploads and prunes, so that the event loop never waits for it.

    python -m alpaca_websocket.store

It reads its settings as one line of JSON and then commands, line by line: "wake", or "stop" for one last round. At the
end of its input, when the server is gone, it stops where it stands: any step may be repeated. After every round it
writes its status as a line of JSON.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from alpaca_websocket.store import retention
from alpaca_websocket.store.layout import Layout
from alpaca_websocket.store.settings import StoreSettings
from alpaca_websocket.store.status import WorkerStatus

if TYPE_CHECKING:
    from alpaca_websocket.store.upload import Uploader

POLL_SECONDS = 5.0  # between rounds when nothing wakes it
# Even of the lowest priority, a worker that is busy takes caches from the event loop.
_REST = 3.0  # seconds for each second of work
_UNHURRIED = 4  # with more segments waiting it does not rest
_PIECE_SECONDS = 0.02  # of work at least between two rests


class Worker:
    """One round at a time; it keeps nothing in memory that matters.

    :param stop: set when the server ends and waits for the last round
    """

    def __init__(self, settings: StoreSettings, stop: threading.Event) -> None:
        self.layout, self.settings, self.status = Layout(settings.directory), settings, WorkerStatus()
        self._stop = stop
        self._worked = 0.0  # CPU seconds of this process when it last rested
        self._uploader: Uploader | None = None
        self._failures = 0
        self._not_before = 0.0

    def round(self, *, last: bool = False) -> float:
        """Does what is to be done; the last time without waiting for an upload's turn.

        Returns the seconds until the next try at an upload, 0 if none waits for one.
        """
        self._roll()
        if self.settings.bucket and (last or time.monotonic() >= self._not_before):
            self._upload()
        disk = os.statvfs(self.layout.root)
        try:
            self.status.pruned_bytes += retention.prune(
                self.layout, self.settings, time.time_ns(), disk.f_bavail * disk.f_frsize
            )
        except OSError as error:
            self.status.roll_error = str(error)
        self._measure()
        return max(0.0, self._not_before - time.monotonic())

    def _roll(self) -> None:
        from alpaca_websocket.store.roller import roll  # pyarrow takes a second: not before main() listens

        self.status.roll_error = ""
        self._worked = time.process_time()
        for segment in self.layout.segments():
            if segment.last is None:
                continue
            try:
                counts = roll(self.layout, segment, self._pace)
                self.status.missing_messages += segment.last - segment.first + 1 - counts.total()
                for kind, rows in counts.items():
                    self.status.rows[kind] = self.status.rows.get(kind, 0) + rows
            except Exception as error:  # one segment, whatever is wrong with it, does not hold up the others
                self.status.roll_error = f"{segment.path.name}: {type(error).__name__}: {error}"

    def _pace(self) -> None:
        """Rests, so that the event loop has its core and caches to itself most of the time, unless there is a hurry."""
        worked = time.process_time() - self._worked
        if worked < _PIECE_SECONDS:
            return
        if sum(segment.last is not None for segment in self.layout.segments()) <= _UNHURRIED:
            self._stop.wait(_REST * worked)
        self._worked = time.process_time()

    def _upload(self) -> None:
        from alpaca_websocket.store import upload  # boto3 only where it is used: it takes a while to load

        conflict = ""
        for file in self.layout.rolled(self.layout.outbox):
            try:
                uploader = self._uploader = self._uploader or upload.Uploader(self.settings)
                size = file.path.stat().st_size
                self.status.upload_tries += 1
                uploader.upload(file.path, uploader.key(file.path, self.layout.outbox))
            except upload.UploadConflict as error:
                conflict = str(error)
                continue
            except upload.FAILURES as error:
                self.status.upload_error = f"{file.path.name}: {error}"
                self._back_off()
                return
            file.path.unlink()
            self._failures = 0
            self.status.uploaded_files += 1
            self.status.uploaded_bytes += size
            self.status.uploaded_ns = time.time_ns()
        self.status.upload_error = conflict

    def _back_off(self) -> None:
        pause = min(self.settings.retry_max_seconds, self.settings.retry_seconds * 2.0 ** min(self._failures, 30))
        self._failures += 1
        self._not_before = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 not cryptography

    def _measure(self) -> None:
        status, layout = self.status, self.layout
        status.backlog_files = status.backlog_bytes = status.backlog_since_ns = 0
        if self.settings.bucket:
            waiting = [file.path.stat() for file in layout.rolled(layout.outbox)]
            status.backlog_files = len(waiting)
            status.backlog_bytes = sum(item.st_size for item in waiting)
            status.backlog_since_ns = min((item.st_mtime_ns for item in waiting), default=0)
        status.parquet_bytes = sum(file.path.stat().st_size for file in layout.rolled())
        status.journal_bytes = sum(map(_size, layout.journal.iterdir()))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # the server has sealed it meanwhile
        return 0


def _settings() -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            sys.exit(0)
        line += byte
    return bytes(line)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of the unit; the server tells us when
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError, AttributeError):  # a sandbox may forbid it; only Linux has the second
        os.nice(10)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    wake, stop = threading.Event(), threading.Event()
    worker = Worker(msgspec.json.decode(_settings(), type=StoreSettings), stop)

    def listen() -> None:
        while commands := os.read(0, 4096):
            if b"stop" in commands:
                stop.set()
            wake.set()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    # The worker of a server that was killed may not have noticed yet; two at a time would get into each other's way.
    lock = os.open(worker.layout.worker_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    fcntl.flock(lock, fcntl.LOCK_EX)
    while True:
        last = stop.is_set()
        wake.clear()
        pause = worker.round(last=last)
        print(msgspec.json.encode(worker.status).decode(), flush=True)
        if last:
            return
        wake.wait(min(pause, POLL_SECONDS) if pause else POLL_SECONDS)
