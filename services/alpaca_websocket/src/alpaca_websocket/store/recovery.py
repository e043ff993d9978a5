# SPDX-License-Identifier: GPL-3.0-or-later
"""What a start finds after a crash, put in order, and the report on it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from alpaca_websocket.protocol import rfc3339
from alpaca_websocket.store.layout import Layout, Segment, sync_directory
from alpaca_websocket.store.records import MAGIC, scan


class SegmentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One journal segment that was still being written."""

    name: str
    messages: int
    first: int
    last: int
    cut_bytes: int
    """Bytes of a torn record at the end, which nobody had been told was stored."""
    damaged: list[tuple[int, int]] = []
    """Places (from byte, to byte) inside the segment that hold no whole record though whole ones follow."""
    missing: list[tuple[int, int]] = []
    """Sequence numbers (first, last) lost with them."""


class RecoveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a start found and did."""

    at: str
    clean: bool
    """The stop before was a graceful one."""
    next_sequence: int
    segments: list[SegmentReport] = []
    half_written: int = 0
    """Unfinished Parquet files thrown away; their segments are rolled again."""
    to_roll: int = 0
    """Sealed segments that wait to be rolled into Parquet."""
    to_upload: int = 0
    """Parquet files that aren't confirmed in the bucket yet."""

    def __str__(self) -> str:
        lines = [f"{self.at}: {'clean start' if self.clean else 'recovered'}, next message is {self.next_sequence}"]
        for segment in self.segments:
            lines.append(
                f"  {segment.name}: {segment.messages} messages ({segment.first} to {segment.last}) kept, "
                f"{segment.cut_bytes} bytes of a torn write cut"
            )
            lines += [f"    DAMAGED from byte {start} to {end}" for start, end in segment.damaged]
            lines += [f"    MISSING messages {first} to {last}" for first, last in segment.missing]
        lines.append(
            f"  {self.half_written} half-written files removed, {self.to_roll} segments to roll, "
            f"{self.to_upload} files to upload"
        )
        return "\n".join(lines)


def recover(layout: Layout, now_ns: int) -> RecoveryReport:
    """Cuts torn tails, seals what was being written, and leaves the report beside the data. Repeatable at any point."""
    layout.create()
    half_written = [path for path in layout.tmp.iterdir() if path.is_file()]
    for path in half_written:
        path.unlink()
    segments = [segment for segment in layout.segments() if segment.last is None]
    reports = []
    for index, segment in enumerate(segments):
        # A segment given up after a failed write ends where the next one begins.
        limit = segments[index + 1].first - 1 if index + 1 < len(segments) else None
        if found := _seal(layout, segment, limit):
            reports.append(found)
    last = layout.last_sequence()
    following = max([segment.first for segment in segments] + [now_ns // 1000 if last is None else last + 1])
    report = RecoveryReport(
        at=rfc3339(now_ns),
        clean=not segments and not half_written,  # a graceful stop leaves no segment open, not even an empty one
        next_sequence=following,
        segments=reports,
        half_written=len(half_written),
        to_roll=sum(segment.last is not None for segment in layout.segments()),
        to_upload=len(layout.rolled(layout.outbox)),
    )
    encoded = msgspec.json.encode(report)
    if not report.clean:
        with layout.history.open("ab") as history:
            history.write(encoded + b"\n")
    _write(layout.report, msgspec.json.format(encoded))
    return report


def _seal(layout: Layout, segment: Segment, limit: int | None) -> SegmentReport | None:
    """Cuts and renames one segment. None if there never was anything in it."""
    records = [record._replace(payload=b"", arrivals=[]) for record in scan(segment.path, segment.first)]
    # What had been acknowledged: all up to the next segment, or what any later record says.
    acknowledged = max((record.durable for record in records), default=0) if limit is None else limit
    end, last, count = 0, segment.first - 1, 0
    damaged, missing = [], []
    for record in records:
        if limit is not None and record.last > limit:
            break
        if record.start > end:
            if last >= acknowledged:
                break  # the remains of a write that was torn in its middle
            damaged.append((end, record.start))
        if record.first > last + 1:
            missing.append((last + 1, record.first - 1))
        end, last, count = record.end, record.last, count + record.rows
    if limit is not None and last < limit:
        missing.append((last + 1, limit))
    size = segment.path.stat().st_size
    if count:
        with segment.path.open("r+b") as file:
            file.truncate(end)
            os.fsync(file.fileno())
        segment.path.rename(layout.sealed_segment(segment.first, last))
    elif size and not segment.path.read_bytes().startswith(MAGIC):
        segment.path.rename(layout.damaged_segment(segment.path))  # not torn: not what we write
    else:
        segment.path.unlink()
    sync_directory(layout.journal)
    if not size and not missing:
        return None
    return SegmentReport(
        name=segment.path.name,
        messages=count,
        first=segment.first,
        last=last,
        cut_bytes=size - end,
        damaged=damaged,
        missing=missing,
    )


def _write(path: Path, data: bytes) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_bytes(data)
    draft.replace(path)
