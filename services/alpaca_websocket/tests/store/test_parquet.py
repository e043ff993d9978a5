# SPDX-License-Identifier: GPL-3.0-or-later
"""The Parquet files: typed, complete, and readable with what people use."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpaca_websocket.protocol import CHANNELS, Message, Messages, mark_backfilled
from alpaca_websocket.store import Store, describe, layout, roller, schema
from alpaca_websocket.store.layout import Layout
from alpaca_websocket.store.records import encode, seed
from alpaca_websocket.store.recovery import recover
from store_kit import ALL_KINDS, SAMPLES, TIME, batch, fill, numbered, parquet, sample, settings

RECEIVED = 1_795_190_000_123_456_789
_OWN: dict[str, dict[str, Any]] = {
    "t": {"id": 96921, "exchange": "D", "price": 126.55, "size": 1.0, "conditions": ["@", "I"], "tape": "C"},
    "q": {"ask_exchange": "U", "ask_price": 169.8, "ask_size": 3.0, "bid_exchange": "Q", "bid_size": 0.5},
    "b": {"open": 132.65, "high": 136.0, "low": 132.12, "close": 134.65, "volume": 205.0, "trade_count": 16},
    "u": {"volume": 206.0, "trade_count": 17, "vwap": 133.7},
    "d": {"volume": 2e6, "trade_count": 9000},
    "s": {"status_code": "H", "status_message": "Halted", "reason_code": "T12", "reason_message": "Info requested"},
    "l": {"limit_up": 3.24, "limit_down": 2.65, "indicator": "B", "tape": "C"},
    "c": {"original_id": 1, "original_size": 3.0, "corrected_id": 4, "corrected_conditions": ["T"], "exchange": "M"},
    "x": {"id": 96921, "action": "C", "price": 126.55},
}


def _table(kind: str, *raws: bytes) -> pa.Table:
    return roller.table(kind, range(1, len(raws) + 1), [RECEIVED] * len(raws), *roller.decode(b",".join(raws)))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_field_has_its_column(kind: str) -> None:
    raw = sample(kind).raw
    table = _table(kind, raw)
    row = table.to_pylist()[0]
    assert {name: row[name] for name in _OWN[kind]} == _OWN[kind]
    assert (row["sequence"], row["symbol"], row["raw"], row["backfilled"]) == (1, "AAPL", raw.decode(), False)
    assert table["timestamp"].cast(pa.int64()).to_pylist() == [pd.Timestamp(TIME).value]
    assert table["received_at"].cast(pa.int64()).to_pylist() == [RECEIVED]
    fields = set(re.findall(rb'"(\w+)":', SAMPLES[kind])) - {b"T", b"S", b"t"}
    only_crypto = {b"tks"}
    assert fields == {field.name.encode() for field in schema.FIELDS[kind]} - only_crypto


def test_a_field_of_tomorrow_stays_in_raw_and_backfilled_is_marked() -> None:
    raw = mark_backfilled(sample("t").raw)
    row = _table("t", raw[:-1] + b',"new":{"a":1}}').to_pylist()[0]
    assert row["backfilled"] is True
    assert row["raw"].endswith('"new":{"a":1}}')
    assert row["price"] == 126.55


@pytest.mark.parametrize(
    "raw",
    [
        b'{"T":"t","S":"AAPL","p":"a string"}',
        b'{"T":"t","S":"AAPL","i":99999999999999999999}',
        b'{"T":"t","S":"AAPL","t":"not a time","p":1}',
        b'{"T":"t","S":"AAPL","t":"9999-01-01T00:00:00Z"}',
        b'{"T":"t","S":"AAPL","c":[1,2]}',
        b'{"T":"t","S":"AAPL","z":"\xff"}',
    ],
)
def test_what_has_unexpected_types_is_kept_beside_what_has_not(raw: bytes) -> None:
    table = _table("t", sample("t").raw, raw)
    assert table["price"].to_pylist()[0] == 126.55
    assert table["raw"].to_pylist()[1] == raw.decode(errors="replace"), "the protocol replaces what is no UTF-8"
    assert table["timestamp"].null_count == 1


def test_rows_lie_in_the_partition_of_their_own_date(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path))
    store.append(Messages.of([sample("b", f"2026-11-{day}T23:59:59.999999999Z") for day in (19, 20)]), RECEIVED)
    store.append(Messages.of([Message("b", "AAPL", b'{"T":"b","S":"AAPL"}')]), RECEIVED)
    store.close()
    dates = [path.parent.name for path in parquet(tmp_path)]
    assert dates == ["date=2026-11-19", "date=2026-11-20"]
    assert [pq.read_metadata(path).num_rows for path in parquet(tmp_path)] == [1, 2]  # 2026-11-20 is also RECEIVED's


def test_nonsense_dates_do_not_open_a_file_each(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path))
    days = [f"{1970 + i % 100}-01-{1 + i // 100:02d}" for i in range(2000)]
    store.append(Messages.of([sample("t", f"{day}T00:00:00Z") for day in days]), RECEIVED)
    store.close()
    assert [pq.read_metadata(path).num_rows for path in parquet(tmp_path)] == [2000]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("filled")
    store = Store.open(settings(directory))
    for kind in ALL_KINDS:
        store.append(Messages.of([sample(kind, f"2026-11-{day}T15:00:00.000000001Z") for day in (19, 20)]), RECEIVED)
    fill(store, 1, 100)
    store.close()
    return directory / "parquet"


def test_pandas_reads_a_kind_with_its_partitions(filled: Path) -> None:
    frame = pd.read_parquet(filled / "kind=bars")
    assert frame["timestamp"].dtype == pd.DatetimeTZDtype("ns", "UTC")
    assert list(frame["timestamp"].dt.nanosecond) == [1, 1]
    assert sorted(frame["date"].astype(str)) == ["2026-11-19", "2026-11-20"]
    assert list(pd.read_parquet(filled / "kind=bars", filters=[("date", "==", "2026-11-20")])["close"]) == [134.65]


def test_duckdb_reads_partitions_and_prunes_by_them(filled: Path) -> None:
    query = "select distinct kind, date from read_parquet(?, hive_partitioning = true) order by all"
    rows = duckdb.execute(query, [f"{filled}/kind=trades/*/*.parquet"]).fetchall()
    assert [(kind, str(date)) for kind, date in rows] == [("trades", "2026-11-19"), ("trades", "2026-11-20")]
    everything = (
        f"select count(*) from read_parquet('{filled}/*/*/*.parquet', hive_partitioning = true, union_by_name = true)"
    )
    assert duckdb.execute(everything).fetchone() == (2 * len(ALL_KINDS) + 100,)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_athena_s_table_fits_the_files(filled: Path, kind: str) -> None:
    ddl = schema.athena_table(kind, "t", "s3://bucket/market-data/", "2026-01-01")
    declared = dict(re.findall(r"^  `(\w+)` (\S+?),?$", ddl, re.MULTILINE))
    path = next((filled / f"kind={CHANNELS[kind]}").rglob("*.parquet"))
    hive = {"int64": "bigint", "double": "double", "string": "string", "bool": "boolean"}
    found = pq.read_schema(path)
    assert declared == {
        field.name: "timestamp"
        if pa.types.is_timestamp(field.type)
        else "array<string>"
        if pa.types.is_list(field.type)
        else hive[str(field.type)]
        for field in found
    }
    assert f"LOCATION 's3://bucket/market-data/kind={CHANNELS[kind]}/'" in ddl
    assert path.parent.name.startswith("date=")


def test_athena_gets_a_table_for_every_kind_of_the_feed() -> None:
    ddl = describe.athena(
        settings(Path("/"), bucket="algo-dev-data", prefix="/market-data/"), "market_data", "2020-01-01", ALL_KINDS
    )
    tables = re.findall(r"CREATE EXTERNAL TABLE IF NOT EXISTS `market_data`\.`(\w+)`", ddl)
    assert tables == [
        *("trades", "quotes", "bars", "updated_bars", "daily_bars"),
        *("statuses", "lulds", "corrections", "cancel_errors"),
    ]
    assert "'s3://algo-dev-data/market-data/kind=updatedBars/date=${date}/'" in ddl


def test_files_are_compressed_checked_and_sorted_by_symbol(filled: Path) -> None:
    path = max((filled / "kind=trades").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    table = pq.read_table(path, page_checksum_verification=True, partitioning=None)
    keys = list(zip(table["symbol"].to_pylist(), table["sequence"].to_pylist(), strict=True))
    assert keys == sorted(keys)


class _Killed(BaseException):
    """Stands for kill -9 between two system calls."""


def test_a_roller_killed_between_any_two_steps_yields_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [*map(numbered, range(1, 51)), sample("b"), sample("b", "2026-11-19T00:00:00Z")]
    data, name = b"".join(encode([batch(1, RECEIVED, messages)], seed(1), 0)), f"{1:016d}-{len(messages):016d}.wal"

    def attempt(number: int, stop_after: int | None) -> tuple[dict[str, bytes], int]:
        """The files after a run killed at a step (None: at none) and a second run; the steps of the first."""
        place = Layout(tmp_path / f"{number}")
        place.create()
        (place.journal / name).write_bytes(data)
        steps = 0

        def step() -> None:
            nonlocal steps
            steps += 1
            if steps == stop_after:
                raise _Killed

        with monkeypatch.context() as patch:
            for owner, function in (
                (roller, "sync_file"),
                (roller, "sync_directory"),
                (layout, "sync_directory"),
                (os, "link"),
                (Path, "replace"),
                (Path, "unlink"),
                (Path, "mkdir"),
            ):
                original = getattr(owner, function)

                def stepping(*args: object, _original: object = original, **options: object) -> object:
                    step()
                    return _original(*args, **options)  # type: ignore[operator]

                patch.setattr(owner, function, stepping)
            patch.setattr(roller._Roll, "abandon", lambda self: None)  # a killed process does not tidy up
            with suppress(_Killed):
                roller.roll(place, place.segments()[0])
        recover(place, RECEIVED)
        for segment in place.segments():
            roller.roll(place, segment)
        assert list(place.tmp.iterdir()) == []
        waiting = {file.path.name for file in place.rolled(place.outbox)}
        assert waiting == {file.path.name for file in place.rolled()}
        return {str(file.path.relative_to(place.root)): file.path.read_bytes() for file in place.rolled()}, steps

    expected, steps = attempt(0, None)
    assert len(expected) == 4
    assert steps > 10
    for number in range(1, steps + 1):
        assert attempt(number, number)[0] == expected


def test_a_segment_goes_only_after_its_files_are_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Layout(tmp_path)
    place.create()
    segment = place.sealed_segment(1, 2)
    segment.write_bytes(b"".join(encode([batch(1, RECEIVED, [sample("t"), sample("b")])], seed(1), 0)))
    done: list[tuple[str, Path]] = []

    def note(owner: Any, function: str) -> None:
        original = getattr(owner, function)

        def noting(*args: Any, **options: Any) -> object:
            done.append((function, args[-1]))
            return original(*args, **options)

        monkeypatch.setattr(owner, function, noting)

    for owner, function in (
        (roller, "sync_file"),
        (roller, "sync_directory"),
        (layout, "sync_directory"),
        (Path, "replace"),
        (Path, "unlink"),
        (os, "link"),
    ):
        note(owner, function)
    roller.roll(place, place.segments()[0])
    gone = done.index(("unlink", segment))
    for file in place.rolled():
        renamed = done.index(("replace", file.path))
        waiting = done.index(("link", place.in_outbox(file.path)))
        assert ("sync_file", place.tmp / f"{file.kind}-{file.date}-{file.path.name}") in done[:renamed]
        assert ("sync_directory", file.path.parent) in done[renamed:gone]
        assert ("sync_directory", place.in_outbox(file.path).parent) in done[waiting:gone]
        assert {("sync_directory", path) for path in (place.parquet, file.path.parents[1])} <= set(done[:gone])
    assert ("sync_directory", place.journal) in done[gone:]
