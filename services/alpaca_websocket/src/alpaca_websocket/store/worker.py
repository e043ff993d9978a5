# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's second process: rolls, compacts, uploads and prunes, so that the event loop never waits for it.

    python -m alpaca_websocket.store

It reads its settings as one line of JSON and then commands, line by line: "wake", or "stop" for one last round. At the
end of its input, when the server is gone, it stops where it stands: any step may be repeated. After every round it
writes its status as a line of JSON.

It stands back behind the event loop, but not for ever: on a busy machine it still gets some hundredths of a core, more
the more waits for it, and its full share when the server stops.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from alpaca_websocket.store import days, retention
from alpaca_websocket.store.layout import Layout, Segment, sync_directory
from alpaca_websocket.store.settings import StoreSettings
from alpaca_websocket.store.status import WorkerStatus

if TYPE_CHECKING:
    from alpaca_websocket.store.upload import Uploader

POLL_SECONDS = 5.0  # between rounds when nothing wakes it
# Even of a low priority, a worker that is busy takes caches from the event loop.
_REST = 3.0  # seconds for each second of work
_UNHURRIED = 4  # with more segments waiting it does not rest
_PIECE_SECONDS = 0.02  # of work at least between two rests
# More segments waiting than this → how nice it is to others. Beside one that takes a whole core, 15 still gets a
# thirtieth of it, 10 a tenth, 5 a quarter, 0 half.
_NICE = {16: 0, _UNHURRIED: 5, 1: 10, -1: 15}
T = TypeVar("T")


class _Hurry(Exception):
    """More waits than when this piece of work began, or the server stops: it begins again, less nice."""


def niceness(waiting: int, stopping: bool) -> int:
    """How far to stand back behind others."""
    return 0 if stopping else next(nice for more_than, nice in _NICE.items() if waiting > more_than)


def _stand_back(nice: int) -> None:
    """For the calling thread; back from there only a new thread leads."""
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            thread = threading.get_native_id()
            # The unit may have made the server, and so this process, less nice than 0.
            os.setpriority(os.PRIO_PROCESS, thread, max(nice, os.getpriority(os.PRIO_PROCESS, thread)))
            if nice:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def nicely(nice: int, work: Callable[[], T]) -> T:
    """Does the work in a thread of that niceness."""
    with ThreadPoolExecutor(1, initializer=_stand_back, initargs=(nice,)) as pool:
        return pool.submit(work).result()


class Worker:
    """One round at a time; it keeps nothing in memory that matters.

    :param stop: set when the server ends and waits for the last round
    """

    def __init__(self, settings: StoreSettings, stop: threading.Event) -> None:
        self.layout, self.settings, self.status = Layout(settings.directory), settings, WorkerStatus()
        self._stop = stop
        self._nice = 0  # of the work under way
        self._worked = 0.0  # CPU seconds of this process when it last rested
        self._uploader: Uploader | None = None
        self._failures = 0
        self._not_before = 0.0
        self._only_here = settings.delete_unsaved and not settings.bucket

    def round(self, *, last: bool = False) -> float:
        """Does what is to be done; the last time without waiting for an upload's turn.

        Returns the seconds until the next try at an upload, 0 if none waits for one.
        """
        self._roll()
        self._compact()
        if self.settings.bucket and (last or time.monotonic() >= self._not_before):
            nicely(niceness(0, last), self._upload)
        if self._only_here:
            for file in self.layout.rolled(self.layout.outbox):  # it waits for nothing
                file.path.unlink(missing_ok=True)
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
        self.status.roll_error = ""
        for segment in self._waiting():
            try:
                self._roll_one(segment)
            except Exception as error:  # one segment, whatever is wrong with it, does not hold up the others
                self.status.roll_error = f"{segment.path.name}: {type(error).__name__}: {error}"

    def _roll_one(self, segment: Segment) -> None:
        from alpaca_websocket.store.roller import roll  # pyarrow takes a second: only where there is something to roll

        assert segment.last is not None
        while True:
            self._nice = niceness(len(self._waiting()), self._stop.is_set())
            self._worked = time.process_time()
            with suppress(_Hurry):
                counts = nicely(self._nice, lambda: roll(self.layout, segment, self._pace))
                break
        self.status.missing_messages += segment.last - segment.first + 1 - counts.total()
        for kind, rows in counts.items():
            self.status.rows[kind] = self.status.rows.get(kind, 0) + rows

    def _compact(self) -> None:
        """Where nothing waits to be rolled: that would be missing in a daily file."""
        if not self.settings.compact_after_seconds or self._only_here or self._waiting() or self._stop.is_set():
            return
        self._nice = niceness(0, False)
        for files in days.due(self.layout, time.time_ns(), self.settings.compact_after_seconds):
            from alpaca_websocket.store.compact import compact

            self._worked = time.process_time()
            try:
                nicely(self._nice, lambda files=files: compact(self.layout, files, self._pace))  # type: ignore[misc]
                self.status.daily_files += 1
            except _Hurry:  # what is to be rolled comes first; this waits for another round
                return
            except Exception as error:
                self.status.roll_error = f"{files[0].kind} of {files[0].date}: {type(error).__name__}: {error}"

    def _waiting(self) -> list[Segment]:
        """Sealed segments."""
        return [segment for segment in self.layout.segments() if segment.last is not None]

    def _pace(self) -> None:
        """Rests, so that the event loop has its core and caches to itself most of the time, unless there is a hurry."""
        worked = time.process_time() - self._worked
        if worked < _PIECE_SECONDS:
            return
        waiting = len(self._waiting())
        if waiting <= _UNHURRIED:
            self._stop.wait(_REST * worked)
        if niceness(waiting, self._stop.is_set()) < self._nice:
            raise _Hurry
        self._worked = time.process_time()

    def _upload(self) -> None:
        from alpaca_websocket.store import upload  # boto3 only where it is used: it takes a while to load

        conflict = ""
        for path, name, done in self._to_upload():
            try:
                uploader = self._uploader = self._uploader or upload.Uploader(self.settings)
                size = path.stat().st_size
                self.status.upload_tries += 1
                uploader.upload(path, uploader.key(name))
            except upload.UploadConflict as error:
                conflict = str(error)
                continue
            except upload.FAILURES as error:
                self.status.upload_error = f"{path.name}: {error}"
                self._back_off()
                return
            done(path)
            self._failures = 0
            self.status.uploaded_files += 1
            self.status.uploaded_bytes += size
            self.status.uploaded_ns = time.time_ns()
        self.status.upload_error = conflict

    def _to_upload(self) -> Iterator[tuple[Path, Path, Callable[[Path], None]]]:
        """Files, their names in the bucket, and what is to be done when they are there."""
        layout = self.layout
        for file in layout.rolled(layout.outbox):
            yield file.path, file.path.relative_to(layout.outbox), Path.unlink
        for file in layout.rolled(layout.daily):
            yield file.path, file.path.relative_to(layout.root), self._daily_is_uploaded

    def _daily_is_uploaded(self, daily: Path) -> None:
        self.layout.uploaded(daily).touch()
        sync_directory(daily.parent)
        daily.unlink()

    def _back_off(self) -> None:
        pause = min(self.settings.retry_max_seconds, self.settings.retry_seconds * 2.0 ** min(self._failures, 30))
        self._failures += 1
        self._not_before = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 not cryptography

    def _measure(self) -> None:
        status, layout = self.status, self.layout
        status.backlog_files = status.backlog_bytes = status.backlog_since_ns = 0
        if self.settings.bucket:
            waiting = [path.stat() for path, _name, _done in self._to_upload()]
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
