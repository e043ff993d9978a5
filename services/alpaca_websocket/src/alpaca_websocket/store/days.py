# SPDX-License-Identifier: GPL-3.0-or-later
"""Which small Parquet files are to be put together: those of days that are over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from alpaca_websocket.store.layout import Day, Layout, Rolled

LARGEST = 128 * 2**20  # bytes of small files in one large one


def due(layout: Layout, now_ns: int, quiet_seconds: float) -> Iterator[list[Rolled]]:
    """The files that belong into one large one each: of days that are over, and that nothing was added to lately."""
    before_ns = now_ns - int(quiet_seconds * 1e9)
    today = datetime.fromtimestamp(before_ns / 1e9, UTC).date().isoformat()
    days: dict[Day, list[Rolled]] = defaultdict(list)
    for file in layout.rolled():
        if file.date < today:
            days[file.day].append(file)
    compacted = layout.compacted()
    for day, files in days.items():
        left = [file for file in files if not any(span.covers(file) for span in compacted.get(day, ()))]
        if not left or layout.incomplete(day).exists():
            continue
        if max(file.path.stat().st_mtime_ns for file in left) <= before_ns:
            yield from _parts(left)


def _parts(files: Sequence[Rolled]) -> Iterator[list[Rolled]]:
    part: list[Rolled] = []
    total = 0
    for file in files:
        size = file.path.stat().st_size
        if part and total + size > LARGEST:
            yield part
            part, total = [], 0
        part.append(file)
        total += size
    if part:
        yield part
