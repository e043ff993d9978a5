# SPDX-License-Identifier: GPL-3.0-or-later
"""Which local Parquet files may go. Only what the bucket has confirmed goes, and the newest stays in any case."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from alpaca_websocket.store.layout import Day, Layout, Rolled
from alpaca_websocket.store.settings import StoreSettings


class Kept(NamedTuple):
    """A local file that the bucket has, too."""

    file: Rolled
    bytes: int
    age_seconds: float


def expired(kept: Sequence[Kept], settings: StoreSettings, disk_free: int) -> list[Kept]:
    """The files to delete: too old, or the oldest of too many, or the oldest while the disk is nearly full."""
    total = sum(item.bytes for item in kept)
    short = max(0, settings.min_free_bytes * 5 // 4 - disk_free)
    freed = 0
    chosen = []
    for item in sorted(kept, key=lambda item: item.file.first):
        if item.age_seconds > settings.retain_days * 86_400 or total - freed > settings.retain_bytes or freed < short:
            chosen.append(item)
            freed += item.bytes
    return chosen


def prune(layout: Layout, settings: StoreSettings, now_ns: int, disk_free: int) -> int:
    """Deletes what is expired. Returns bytes."""
    files, compacted = layout.rolled(), layout.compacted()
    newest = max((file.last for file in files), default=0)  # its name keeps the sequence number from falling back
    kept = []
    for file in files:
        if file.last != newest and not layout.in_outbox(file.path).exists():
            status = file.path.stat()
            kept.append(Kept(file, status.st_size, now_ns / 1e9 - status.st_mtime))
    gone = expired(kept, settings, disk_free)
    if gone:
        # First, and with the time of the newest of them: all that is in them came before it was written.
        newest_gone = max(item.file.path.stat().st_mtime_ns for item in gone)
        before = layout.pruned.stat().st_mtime_ns if layout.pruned.exists() else 0
        layout.pruned.touch()
        os.utime(layout.pruned, ns=(max(before, newest_gone),) * 2)
    for item in gone:
        day = item.file.day
        if settings.compact_after_seconds and not any(span.covers(item.file) for span in compacted.get(day, ())):
            layout.make_folder(layout.incomplete(day).parent)
            layout.incomplete(day).touch()  # first: of what is left, no daily file may be made
        item.file.path.unlink()
        with suppress(OSError):  # not empty yet
            item.file.path.parent.rmdir()
    for day in {item.file.day for item in gone}:
        _forget(layout, day)
    return sum(item.bytes for item in gone)


def _forget(layout: Layout, day: Day) -> None:
    """What stands for a day's daily files goes with the last of its small ones."""
    folder = layout.daily / day.folder
    left = any(file.day == day for file in (*layout.rolled(), *layout.rolled(layout.daily)))
    if left or layout.incomplete(day).exists() or not folder.is_dir():
        return
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
