# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed journal segments → Parquet files, one per kind and date.

The names follow from the segment, and the segment goes last: a roller that is killed anywhere does it again and gets
the same files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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
        self.symbols: list[str] = []
        self.raws: list[bytes] = []


class Partition(NamedTuple):
    kind: str
    date: str


def roll(layout: Layout, segment: Segment) -> Counter[str]:
    """Rolls one segment. Returns rows by partition name (`trades`, …). Raises OSError, the segment then stays."""
    assert segment.last is not None
    rows = _Roll(layout, f"{segment.first:016d}-{segment.last:016d}.parquet")
    try:
        # What lies behind the last record was given up and stands in the next segment again.
        rows.add(record for record in scan(segment.path, segment.first) if record.last <= segment.last)
        counts = rows.finish()
    except BaseException:
        rows.abandon()
        raise
    segment.path.unlink()
    sync_directory(layout.journal)
    return counts


class _Roll:
    def __init__(self, layout: Layout, name: str) -> None:
        self._layout, self._name = layout, name
        self._rows: dict[str, _Rows] = {}
        self._writers: dict[Partition, pq.ParquetWriter] = {}
        self._counts: Counter[str] = Counter()

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            for sequence, message in enumerate(messages(record.payload), record.first):
                rows = self._rows.get(message.kind)
                if rows is None:
                    rows = self._rows[message.kind] = _Rows()
                rows.sequences.append(sequence)
                rows.received.append(record.received_ns)
                rows.symbols.append(message.symbol)
                rows.raws.append(message.raw)
                if len(rows.raws) >= ROW_GROUP:
                    self._write(message.kind, self._rows.pop(message.kind))

    def finish(self) -> Counter[str]:
        """Makes the files durable under their names, and notes them for the upload."""
        for kind, rows in self._rows.items():
            self._write(kind, rows)
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
            if not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                sync_directory(path.parent)
                sync_directory(path.parent.parent)
        waiting.unlink(missing_ok=True)
        draft.replace(target)
        os.link(target, waiting)
        sync_directory(target.parent)
        sync_directory(waiting.parent)

    def _write(self, kind: str, rows: _Rows) -> None:
        name = schema.partition(kind)
        data = table(kind, rows.sequences, rows.received, rows.symbols, rows.raws)
        dates = pc.strftime(pc.coalesce(data["timestamp"], data["received_at"]), format="%Y-%m-%d")
        if len(pc.unique(dates)) > MOST_DATES:
            dates = pc.strftime(data["received_at"], format="%Y-%m-%d")
        self._counts[name] += data.num_rows
        for date in sorted(pc.unique(dates).to_pylist()):
            part = data.filter(pc.equal(dates, date)).sort_by([("symbol", "ascending"), ("sequence", "ascending")])
            self._writer(Partition(name, date), data.schema).write_table(part, row_group_size=ROW_GROUP)

    def _writer(self, partition: Partition, columns: pa.Schema) -> pq.ParquetWriter:
        writer = self._writers.get(partition)
        if writer is None:
            writer = self._writers[partition] = pq.ParquetWriter(
                self._draft(partition),
                columns,
                compression="zstd",
                use_dictionary=[name for name in columns.names if name not in ("sequence", "received_at", "raw")],
                write_page_checksum=True,
            )
        return writer


def table(
    kind: str, sequences: Sequence[int], received: Sequence[int], symbols: Sequence[str], raws: Sequence[bytes]
) -> pa.Table:
    """The columns of `schema.arrow_schema(kind)` for messages of one kind."""
    rows = _decode(kind, raws)
    columns: dict[str, Any] = {
        "sequence": sequences,
        "symbol": symbols,
        "timestamp": schema.times([row.t for row in rows]),
        "received_at": pa.array(received, pa.int64()).cast(pa.timestamp("ns", "UTC")),
        "backfilled": [row.backfilled for row in rows],
        "raw": _texts(raws),
    }
    for field in schema.FIELDS.get(kind, ()):
        name = schema.attribute(field.name)
        columns[field.column] = [getattr(row, name) for row in rows]
    return pa.table(columns, schema=schema.arrow_schema(kind))


def _decode(kind: str, raws: Sequence[bytes]) -> list[Any]:
    row_type = schema.row_type(kind)
    try:
        return msgspec.json.decode(b"[%b]" % b",".join(raws), type=list[row_type])  # type: ignore[valid-type]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [_decode_one(row_type, raw) for raw in raws]


def _decode_one(row_type: type[Any], raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw, type=row_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return row_type()


def _texts(raws: Sequence[bytes]) -> pa.Array:
    try:
        return pa.array(raws, pa.string())
    except pa.ArrowInvalid:
        return pa.array([raw.decode(errors="backslashreplace") for raw in raws], pa.string())
