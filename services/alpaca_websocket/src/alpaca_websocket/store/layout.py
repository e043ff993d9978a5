# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's directory: every state of the data is a place or a name, so that a restart needs no other memory.

    journal/0001781234567890.open                     being written
    journal/0001781234567890-0001781234590122.wal     sealed: complete and durable, to be rolled into Parquet
    journal/0001781234567890-0001781234590122.damaged sealed, rolled as far as it could be read, kept for a person
    tmp/                                              half-written Parquet, worthless after a crash
    parquet/kind=trades/date=2026-07-24/0001781234567890-0001781234590122.parquet
    outbox/kind=…                                     hard links to those of them that aren't confirmed in S3 yet
    daily/kind=trades/date=2026-07-24/…parquet        all of them of one day that is over, in one file, see compact.py
    daily/kind=trades/date=2026-07-24/…uploaded       the same, confirmed in S3 and empty here
    daily/kind=trades/date=2026-07-24/incomplete      some of them had to go before that

Numbers are sequence numbers. A new store counts from the microseconds since 1970, so that a rebuilt host neither
reuses the names nor falls behind the sequence numbers of the one before it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"(\d+)(?:-(\d+))?\.(open|wal|damaged|parquet|uploaded)")


class Segment(NamedTuple):
    """A journal segment by its name; last is None while it is being written."""

    first: int
    last: int | None
    path: Path


class Day(NamedTuple):
    """What a partition holds."""

    kind: str
    date: str

    @property
    def folder(self) -> Path:
        return Path(f"kind={self.kind}", f"date={self.date}")


class Rolled(NamedTuple):
    """A Parquet file by its name."""

    first: int
    last: int
    kind: str
    date: str
    path: Path

    @property
    def day(self) -> Day:
        return Day(self.kind, self.date)

    def covers(self, other: Rolled) -> bool:
        """Whether it holds the other one's messages, being of the same day."""
        return self.first <= other.first and other.last <= self.last


class Layout:
    """Paths of one store."""

    def __init__(self, directory: str | Path) -> None:
        self.root = Path(directory)
        self.journal = self.root / "journal"
        self.parquet = self.root / "parquet"
        self.outbox = self.root / "outbox"
        self.daily = self.root / "daily"
        self.tmp = self.root / "tmp"
        self.lock = self.root / "lock"
        self.worker_lock = self.root / "worker.lock"
        self.report = self.root / "recovery.json"  # of the last start
        self.pruned = self.root / "pruned"  # its time: up to when something that came may have been deleted
        self.history = self.root / "recoveries.jsonl"  # of all starts that found something to recover

    def create(self) -> None:
        for path in (self.root, self.journal, self.parquet, self.outbox, self.daily, self.tmp):
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
        sync_directory(self.root)

    def open_segment(self, first: int) -> Path:
        return self.journal / f"{first:016d}.open"

    def sealed_segment(self, first: int, last: int) -> Path:
        return self.journal / f"{first:016d}-{last:016d}.wal"

    def damaged_segment(self, path: Path) -> Path:
        return path.with_suffix(".damaged")

    def segments(self) -> list[Segment]:
        """The journal's segments, oldest first."""
        return [segment for segment in self._segments() if segment.path.suffix != ".damaged"]

    def damaged(self) -> list[Segment]:
        """Segments with something unreadable in them."""
        return [segment for segment in self._segments() if segment.path.suffix == ".damaged"]

    def _segments(self) -> list[Segment]:
        found = []
        for path in _list(self.journal):
            if match := _NAME.fullmatch(path.name):
                found.append(Segment(int(match[1]), int(match[2]) if match[2] else None, path))
        return sorted(found, key=lambda segment: segment.first)

    def rolled(self, root: Path | None = None, suffix: str = ".parquet") -> list[Rolled]:
        """All Parquet files (or those of the outbox, or of daily), oldest first."""
        found = []
        for kind in _list(root or self.parquet):
            for date in _list(kind):
                for path in _list(date):
                    if path.suffix == suffix and (match := _NAME.fullmatch(path.name)) and match[2]:
                        names = kind.name.partition("=")[2], date.name.partition("=")[2]
                        found.append(Rolled(int(match[1]), int(match[2]), *names, path))
        return sorted(found)

    def last_sequence(self) -> int | None:
        """The highest sequence number that any name speaks of; None for an empty store."""
        lasts = [segment.first - 1 if segment.last is None else segment.last for segment in self._segments()]
        lasts += [file.last for file in self.rolled()]
        return max(lasts, default=None)

    def in_outbox(self, path: Path) -> Path:
        return self.outbox / path.relative_to(self.parquet)

    def daily_file(self, day: Day, first: int, last: int) -> Path:
        return self.daily / day.folder / f"{first:016d}-{last:016d}.parquet"

    def uploaded(self, daily: Path) -> Path:
        """What stands for a daily file that is in the bucket."""
        return daily.with_suffix(".uploaded")

    def incomplete(self, day: Day) -> Path:
        """Says that files of this day are gone from here, so that no daily file can be made of them."""
        return self.daily / day.folder / "incomplete"

    def compacted(self) -> dict[Day, list[Rolled]]:
        """The daily files, here or in the bucket."""
        found: dict[Day, list[Rolled]] = {}
        for file in (*self.rolled(self.daily), *self.rolled(self.daily, ".uploaded")):
            found.setdefault(file.day, []).append(file)
        return found

    def make_folder(self, path: Path) -> None:
        """Durably, with what is above it."""
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            sync_directory(path.parent)
            sync_directory(path.parent.parent)


def _list(path: Path) -> Iterator[Path]:
    """A directory's entries; none where it (no longer) exists."""
    try:
        yield from path.iterdir()
    except (FileNotFoundError, NotADirectoryError):
        return


def sync_directory(path: Path) -> None:
    """Make created, renamed and removed names durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
