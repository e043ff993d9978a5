# SPDX-License-Identifier: GPL-3.0-or-later
"""The many small Parquet files of a day that is over → one large file for each kind, under daily/.

The small ones stay: they are in the order of arrival, as replay wants them, and whoever reads them never sees a day
move. A reader takes either the small files or the daily ones, and finds each message once in both. A daily file appears
under its name at once, complete and durable; a compaction that is killed anywhere begins again, or finds it done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alpaca_websocket.store.layout import Layout, Rolled, sync_directory, sync_file
from alpaca_websocket.store.schema import ALL_DIFFERENT

ROW_GROUP = 131_072  # rows; also bounds the memory


def compact(layout: Layout, files: Sequence[Rolled], pace: Callable[[], None] = lambda: None) -> Path:
    """Writes one large file with all rows of these, in row groups that are sorted by symbol and sequence number.

    Calls `pace` now and then. Raises OSError, or ValueError where rows are missing; nothing has changed then.
    """
    target = layout.daily_file(files[0].day, files[0].first, files[-1].last)
    draft = layout.tmp / f"daily-{files[0].kind}-{files[0].date}-{target.name}"
    sources = [pq.ParquetFile(file.path) for file in files]
    try:
        columns = pa.unify_schemas([source.schema_arrow for source in sources])
        _write(draft, columns, sources, pace)
        expected = sum(source.metadata.num_rows for source in sources)
        if (found := pq.read_metadata(draft).num_rows) != expected:
            raise ValueError(f"{target.name} of {files[0].kind} has {found} rows instead of {expected}")
        sync_file(draft)
        layout.make_folder(target.parent)
        draft.replace(target)
        sync_directory(target.parent)
    finally:
        draft.unlink(missing_ok=True)
        for source in sources:
            source.close()
    return target


def _write(draft: Path, columns: pa.Schema, sources: Sequence[pq.ParquetFile], pace: Callable[[], None]) -> None:
    with pq.ParquetWriter(
        draft,
        columns,
        compression="zstd",
        use_dictionary=[name for name in columns.names if name not in ALL_DIFFERENT],
        write_page_checksum=True,
    ) as writer:
        waiting: list[pa.Table] = []
        rows = 0
        for source in sources:
            for batch in source.iter_batches(ROW_GROUP, use_threads=False):
                waiting.append(pa.Table.from_batches([batch]))
                rows += batch.num_rows
                if rows >= ROW_GROUP:
                    _write_group(writer, columns, waiting)
                    waiting, rows = [], 0
                pace()
        if waiting:
            _write_group(writer, columns, waiting)


def _write_group(writer: pq.ParquetWriter, columns: pa.Schema, tables: list[pa.Table]) -> None:
    table = pa.concat_tables(tables, promote_options="default").select(_present(columns, tables))
    for index, field in enumerate(columns):
        if field.name not in table.column_names:  # an older version wrote these files
            table = table.add_column(index, field, pa.nulls(table.num_rows, field.type))
    table = table.sort_by([("symbol", "ascending"), ("sequence", "ascending")])
    writer.write_table(table.cast(columns), row_group_size=table.num_rows)


def _present(columns: pa.Schema, tables: Sequence[pa.Table]) -> list[str]:
    known = {name for table in tables for name in table.column_names}
    return [name for name in columns.names if name in known]
