# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading back what is stored, in the order of arrival, while the store goes on writing, rolling and pruning.

What the disk has damaged is named and left out; all around it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from alpaca_websocket.protocol import KINDS, NEWS, Message, symbols_of
from alpaca_websocket.store.layout import Layout, Rolled, Segment
from alpaca_websocket.store.records import Batch, messages, scan

_COLUMNS = ["sequence", "received_at", "symbol", "raw"]
_SLICE = 4096  # rows turned into Python objects at a time


class Stored(NamedTuple):
    """A message with its place in the order of arrival."""

    sequence: int
    received_ns: int
    message: Message


class Damaged(NamedTuple):
    """Messages that cannot be read: of one channel, or with an empty one of all."""

    channel: str
    first: int
    last: int
    file: str
    problem: str

    def __str__(self) -> str:
        return f"damaged on the disk: {self.file}, messages {self.first} to {self.last}: {self.problem}"


class DamagedError(RuntimeError):
    """A stored file cannot be read."""


def refuse(damaged: Damaged) -> None:
    raise DamagedError(f"{damaged.channel or 'all channels'}: {damaged}")


class Wanted(NamedTuple):
    """What to read: everything after `sequence` that came at `received_ns` or later; None for all symbols.

    `tell` is told of each file that cannot be read, perhaps more than once, and may raise.
    """

    kinds: Collection[str]
    symbols: Collection[str] | None
    sequence: int
    received_ns: int
    tell: Callable[[Damaged], None] = refuse

    def has(self, item: Stored) -> bool:
        return (
            item.sequence > self.sequence
            and item.received_ns >= self.received_ns
            and item.message.kind in self.kinds
            and (self.symbols is None or self._has_symbol(item.message, self.symbols))
        )

    @staticmethod
    def _has_symbol(message: Message, symbols: Collection[str]) -> bool:
        if message.kind == NEWS:
            return any(name in symbols for name in symbols_of((NEWS, message.symbol)))
        return message.symbol in symbols


class _Source(NamedTuple):
    """One segment: its journal, or the Parquet files it was rolled into."""

    first: int
    last: int | None
    segment: Segment | None
    files: list[Rolled]


def read(layout: Layout, wanted: Wanted, through: int, pending: Sequence[Batch]) -> Iterator[Stored]:
    """Durable messages up to sequence number `through`, then those of `pending`."""
    position = wanted.sequence
    while True:
        for source in _sources(layout):
            if source.first > through:
                continue  # breaking off would begin the whole round anew
            if source.last is not None and source.last <= position:
                continue
            try:
                for item in _read(source, wanted, position):
                    if item.sequence > through:
                        break
                    yield item
                    position = item.sequence
            except FileNotFoundError:  # sealed, rolled or pruned since it was listed
                break
            position = max(position, min(source.last or through, through))
        else:
            break
        if position >= through:
            break
    if wanted.tell is not refuse:  # what is gone for good is no reason to refuse the rest
        _tell_of_lost(layout, wanted)
    for batch in pending:
        for sequence, message in enumerate(messages(batch.text), batch.first):
            if wanted.has(item := Stored(sequence, batch.received_ns, message)):
                yield item


def _sources(layout: Layout) -> list[_Source]:
    # In this order: a segment that is gone from the journal has all its Parquet files by then, and one that is not
    # may have some of them only.
    segments = layout.segments()
    found = {segment.first: _Source(segment.first, segment.last, segment, []) for segment in segments}
    for file in layout.rolled():
        source = found.setdefault(file.first, _Source(file.first, file.last, None, []))
        source.files.append(file)
    return [found[first] for first in sorted(found)]


def _tell_of_lost(layout: Layout, wanted: Wanted) -> None:
    """Of segments that held more than could be rolled. Which channels that were, nobody knows."""
    for segment in layout.damaged():
        last = segment.first if segment.last is None else segment.last
        if last > wanted.sequence and segment.path.stat().st_mtime_ns >= wanted.received_ns:
            wanted.tell(Damaged("", segment.first, last, segment.path.name, "some of its records"))


def _read(source: _Source, wanted: Wanted, position: int) -> Iterator[Stored]:
    if source.segment is None:
        yield from _from_parquet(source.files, wanted, position)
        return
    for record in scan(source.segment.path, source.first):
        if source.last is not None and record.last > source.last:
            return
        if record.last <= position or record.arrivals[-1].received_ns < wanted.received_ns:
            continue
        sequences = range(record.first, record.last + 1)
        for item in map(Stored, sequences, record.received(), messages(record.payload)):
            if item.sequence > position and wanted.has(item):
                yield item


def _from_parquet(files: Sequence[Rolled], wanted: Wanted, position: int) -> Iterator[Stored]:
    import pyarrow as pa  # a second and 60 MB, which a server that nobody asks for last week does without
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from alpaca_websocket.store.schema import arrow_schema

    condition = pc.field("sequence") > position
    if wanted.received_ns > 0:
        condition &= pc.field("received_at") >= pa.scalar(wanted.received_ns, pa.timestamp("ns", "UTC"))
    of_symbols = condition
    if wanted.symbols is not None:
        of_symbols &= pc.field("symbol").isin(pa.array(sorted(wanted.symbols), pa.string()))
    tables = []
    for file in files:
        if (kind := KINDS.get(file.kind, "")) in wanted.kinds:
            columns = pa.schema([arrow_schema(kind).field(name) for name in _COLUMNS])
            try:
                table = pq.read_table(
                    file.path,
                    columns=_COLUMNS,
                    filters=condition if kind == NEWS else of_symbols,  # a piece of news may be of several
                    partitioning=None,
                    use_threads=False,
                    page_checksum_verification=True,
                )
                table = table.cast(columns)  # no checksum covers what a file says of its columns
            except FileNotFoundError:
                raise
            except (pa.ArrowException, ValueError, OSError) as error:
                # Its messages came before it was written.
                if file.path.stat().st_mtime_ns >= wanted.received_ns:
                    problem = str(error).partition("\n")[0]
                    wanted.tell(Damaged(file.kind, file.first, file.last, file.path.name, problem))
                continue
            kinds = pa.repeat(pa.scalar(kind), table.num_rows)
            tables.append(table.append_column("kind", kinds))
    if not tables:
        return
    table = pa.concat_tables(tables).sort_by("sequence")
    for start in range(0, table.num_rows, _SLICE):
        part = table.slice(start, _SLICE)
        received = part["received_at"].cast(pa.int64())
        for sequence, received_ns, kind, symbol, raw in zip(
            *(column.to_pylist() for column in (part["sequence"], received, part["kind"], part["symbol"], part["raw"])),
            strict=True,
        ):
            item = Stored(sequence, received_ns, Message(kind, symbol, raw.encode()))
            if kind != NEWS or wanted.has(item):
                yield item
