# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stored, as a relation of DuckDB: by kind, symbol and time. Needs `algo-alpaca-websocket[history]`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol import KINDS, rfc3339, time_ns

if TYPE_CHECKING:
    import duckdb

When = str | datetime | None


def query(
    source: str | Path,
    channel: str,
    symbols: str | Collection[str] | None = None,
    start: When = None,
    end: When = None,
    *,
    filesystem: Any = None,
) -> duckdb.DuckDBPyRelation:
    """Stored messages in the order of their own time: `start` included, `end` not.

        trades = query("s3://BUCKET/market-data", "trades", "AAPL", "2026-11-20T14:30:00Z", "2026-11-20T21:00:00Z")
        print(trades.aggregate("sum(price * size) / sum(size) AS vwap"))

    Only files of the days between are opened, and of them only the columns and symbols that are asked for are read.
    Times are UTC with nanoseconds; `.df()` leaves the zone out. Nonsense, more than 64 days in one segment, lies under
    the day it came and may not be found. What is younger than the journal's segment, a quarter of an hour, is not in
    Parquet yet: that is what a replay is for.

    :param source: `s3://BUCKET/PREFIX`, read with the usual AWS credentials, or a server's `store.directory`
    :param channel: trades, quotes, bars, …
    :param start: RFC 3339 with up to nine digits of a second, or a datetime with a time zone
    :param filesystem: a pyarrow filesystem for the source, where the usual one will not do
    """
    import duckdb
    import pyarrow as pa
    import pyarrow.dataset as ds

    if channel not in KINDS:
        raise ValueError(f"unknown channel {channel!r}; there are {', '.join(KINDS)}")
    place = str(source).rstrip("/")
    if filesystem is None and "://" not in place and (Path(place) / "parquet").is_dir():
        place = f"{place}/parquet"  # a store's own directory
    by_date = ds.partitioning(pa.schema([("date", pa.string())]), flavor="hive")
    try:
        files = ds.dataset(f"{place}/kind={channel}", format="parquet", partitioning=by_date, filesystem=filesystem)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there are no {channel} below {place}") from error
    conditions = []
    if symbols is not None:
        listed = [symbols] if isinstance(symbols, str) else sorted(symbols)
        conditions.append(f"symbol IN ({', '.join(map(_quoted, listed))})" if listed else "false")
    for moment, sign in ((start, ">="), (end, "<")):
        if moment is not None:
            text = rfc3339(_nanoseconds(moment))
            # The files' date follows from the message's time; it is what keeps other days' files closed.
            conditions += [
                f"timestamp {sign} CAST({_quoted(text)} AS TIMESTAMPTZ_NS)",
                f"date {sign[0]}= '{text[:10]}'",
            ]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    relation = connection.from_arrow(_with_all_columns(files))
    return relation.filter(" AND ".join(conditions) or "true").order("timestamp, sequence")


def _with_all_columns(files: Any) -> Any:
    """Files of different age may have different columns; the oldest's and the newest's together are all."""
    import pyarrow as pa

    every = sorted(files.get_fragments(), key=lambda fragment: fragment.path)
    if not every:
        return files
    partition = [field for field in files.schema if field.name == "date"]
    ends = [every[0].physical_schema, every[-1].physical_schema, pa.schema(partition)]
    return files.replace_schema(pa.unify_schemas(ends))


def _nanoseconds(moment: str | datetime) -> int:
    if isinstance(moment, str):
        return time_ns(moment)
    if moment.tzinfo is None:
        raise ValueError(f"no time zone in {moment!r}")
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
