# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed journal segments → Parquet files, one per kind and date.

The names follow from the segment, and the segment goes last: a roller that is killed anywhere does it again and gets
the same files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alpaca_websocket.protocol import CHANNELS
from alpaca_websocket.store import schema
from alpaca_websocket.store.layout import Layout, Segment, sync_directory, sync_file
from alpaca_websocket.store.records import Record, messages, scan

ROW_GROUP = 65_536  # rows; also bounds the memory
MOST_DATES = 64  # in one row group's worth; more is nonsense from the source, and would open as many files


class _Rows:
    """Messages of one kind, as columns in the making."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.received: list[int] = []
        self.rows: list[Any] = []
        self.raws: list[bytes] = []


class Partition(NamedTuple):
    kind: str
    date: str


def roll(layout: Layout, segment: Segment, pace: Callable[[], None] = lambda: None) -> Counter[str]:
    """Rolls one segment, and calls `pace` now and then. Returns rows by partition name (`trades`, …).

    One that held more than could be read is kept as damaged. Raises OSError, the segment then stays as it is.
    """
    assert segment.last is not None
    rows = _Roll(layout, f"{segment.first:016d}-{segment.last:016d}.parquet")
    try:
        # What lies behind the last record was given up and stands in the next segment again.
        for record in scan(segment.path, segment.first):
            if record.last <= segment.last:
                rows.add(record)
                pace()
        counts = rows.finish()
    except BaseException:
        rows.abandon()
        raise
    if counts.total() == segment.last - segment.first + 1:
        segment.path.unlink()
    else:
        segment.path.rename(layout.damaged_segment(segment.path))
    sync_directory(layout.journal)
    return counts


class _Roll:
    def __init__(self, layout: Layout, name: str) -> None:
        self._layout, self._name = layout, name
        self._rows: dict[type[Any], _Rows] = {}
        self._writers: dict[Partition, pq.ParquetWriter] = {}
        self._counts: Counter[str] = Counter()

    def add(self, record: Record) -> None:
        sequence = record.first
        for row, raw, received in zip(*decode(record.payload), record.received(), strict=True):
            rows = self._rows.get(type(row))
            if rows is None:
                rows = self._rows[type(row)] = _Rows()
            rows.sequences.append(sequence)
            rows.received.append(received)
            rows.rows.append(row)
            rows.raws.append(raw)
            sequence += 1
            if len(rows.raws) >= ROW_GROUP:
                self._write(schema.KIND_OF[type(row)], self._rows.pop(type(row)))

    def finish(self) -> Counter[str]:
        """Makes the files durable under their names, and notes them for the upload."""
        for row, rows in self._rows.items():
            self._write(schema.KIND_OF[row], rows)
        for partition, writer in self._writers.items():
            writer.close()
            draft = self._draft(partition)
            sync_file(draft)
            self._publish(draft, self._layout.parquet / f"kind={partition.kind}" / f"date={partition.date}")
        return self._counts

    def abandon(self) -> None:
        for partition in self._writers:
            self._draft(partition).unlink(missing_ok=True)

    def _draft(self, partition: Partition) -> Path:
        return self._layout.tmp / f"{partition.kind}-{partition.date}-{self._name}"

    def _publish(self, draft: Path, folder: Path) -> None:
        target = folder / self._name
        waiting = self._layout.in_outbox(target)
        for path in (target.parent, waiting.parent):
            self._layout.make_folder(path)
        waiting.unlink(missing_ok=True)
        draft.replace(target)
        os.link(target, waiting)
        sync_directory(target.parent)
        sync_directory(waiting.parent)

    def _write(self, kind: str, rows: _Rows) -> None:
        name = CHANNELS[kind]
        data = table(kind, rows.sequences, rows.received, rows.rows, rows.raws)
        dates = pc.coalesce(data["timestamp"], data["received_at"]).cast(pa.date32())
        if len(pc.unique(dates)) > MOST_DATES:
            dates = data["received_at"].cast(pa.date32())
        self._counts[name] += data.num_rows
        for date in sorted(pc.unique(dates).to_pylist()):
            part = data.filter(pc.equal(dates, pa.scalar(date)))
            part = part.sort_by([("symbol", "ascending"), ("sequence", "ascending")])
            self._writer(Partition(name, date.isoformat()), data.schema).write_table(part, row_group_size=ROW_GROUP)

    def _writer(self, partition: Partition, columns: pa.Schema) -> pq.ParquetWriter:
        writer = self._writers.get(partition)
        if writer is None:
            writer = self._writers[partition] = pq.ParquetWriter(
                self._draft(partition),
                columns,
                compression="zstd",
                use_dictionary=[name for name in columns.names if name not in schema.ALL_DIFFERENT],
                write_page_checksum=True,
            )
        return writer


def table(
    kind: str, sequences: Sequence[int], received: Sequence[int], rows: Sequence[Any], texts: Sequence[bytes]
) -> pa.Table:
    """The columns of `schema.arrow_schema(kind)` for messages of one kind."""
    columns: dict[str, Any] = {
        "sequence": sequences,
        "symbol": schema.symbols(kind, rows),
        "timestamp": schema.times(list(map(attrgetter("t"), rows))),
        "received_at": pa.array(received, pa.int64()).cast(pa.timestamp("ns", "UTC")),
        "backfilled": list(map(attrgetter("backfilled"), rows)),
        "raw": _texts(texts),
    }
    for field in schema.FIELDS[kind]:
        columns[field.column] = field.convert(list(map(attrgetter(schema.attribute(field.name)), rows)))
    return pa.table(columns, schema=schema.arrow_schema(kind))


_ROWS = msgspec.json.Decoder(list[schema.ROW])
_ROW = msgspec.json.Decoder(schema.ROW)
_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode(payload: bytes) -> tuple[list[Any], Sequence[bytes]]:
    """A record's messages as rows of the schema's types, and their bytes."""
    pieces = messages(payload).raws
    try:
        return _ROWS.decode(b"[%b]" % payload), pieces
    except _ERRORS:
        return [_row(raw) for raw in pieces], pieces


def _row(raw: bytes) -> Any:
    try:
        return _ROW.decode(raw)
    except _ERRORS:
        (message,) = messages(raw)
        return schema.bare(message)


def _texts(raws: Sequence[bytes]) -> pa.Array:
    try:
        return pa.array(raws, pa.string())
    except pa.ArrowInvalid:
        return pa.array([raw.decode(errors="backslashreplace") for raw in raws], pa.string())
