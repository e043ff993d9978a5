# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries over what a real store has written, on the disk and in a bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from alpaca_websocket.client import query
from alpaca_websocket.protocol import Message, Messages
from alpaca_websocket.store import Store
from store_kit import parquet, settings
from support import s3_server

# Nanoseconds, both ends of a day, an hour that only some have, a symbol that must be quoted.
TIMES = [
    "2026-11-19T23:59:59.999999999Z",
    "2026-11-20T00:00:00Z",
    "2026-11-20T14:30:00.000000001Z",
    "2026-11-20T14:30:00.000000002Z",
    "2026-11-20T20:59:59.5Z",
    "2026-11-21T00:00:00Z",
]
SYMBOLS = ["AAPL", "O'X"]


def trade(symbol: str, moment: str, number: int) -> Message:
    text = f'{{"T":"t","S":"{symbol}","i":{number},"x":"V","p":{number}.5,"s":2,"t":"{moment}","c":["@"],"z":"C"}}'
    return Message("t", symbol, text.encode())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments, the later times first, as after a gap."""
    made = tmp_path_factory.mktemp("store")
    for part in (TIMES[3:], TIMES[:3]):
        store = Store.open(settings(made))
        trades = [trade(symbol, moment, TIMES.index(moment)) for symbol in SYMBOLS for moment in part]
        store.append(Messages.of(trades), time.time_ns())
        store.close()
    return made


def numbers(found: object) -> list[int]:
    return [row[0] for row in found.project("id").fetchall()]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", [1, 2, 3, 4]),
        ("2026-11-20T14:30:00.000000002Z", None, [3, 4, 5]),
        (None, "2026-11-20T14:30:00.000000002Z", [0, 1, 2]),
        ("2026-11-20T09:30:00-05:00", "2026-11-20T16:00:00-05:00", [2, 3, 4]),
        (datetime(2026, 11, 20, 14, 30, tzinfo=UTC), datetime(2026, 11, 20, 20, 59, 59, 500000, UTC), [2, 3]),
        ("2026-11-22T00:00:00Z", None, []),
    ],
)
def test_by_time_in_its_order(directory: Path, start: object, end: object, expected: list[int]) -> None:
    assert numbers(query(directory, "trades", "AAPL", start, end)) == expected  # type: ignore[arg-type]


def test_by_symbol(directory: Path) -> None:
    assert numbers(query(directory, "trades", ["O'X"], "2026-11-21T00:00:00Z")) == [5]
    assert numbers(query(directory, "trades", SYMBOLS, "2026-11-21T00:00:00Z")) == [5, 5]
    assert numbers(query(directory, "trades", None, "2026-11-21T00:00:00Z")) == [5, 5]
    assert numbers(query(directory, "trades", [])) == []


def test_the_result_is_a_relation_to_go_on_with(directory: Path) -> None:
    trades = query(directory, "trades", "AAPL", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z")
    assert trades.aggregate("sum(price * size) / sum(size) AS vwap").fetchall() == [(3.0,)]
    frame = trades.df()
    assert [str(moment) for moment in frame["timestamp"]][1] == "2026-11-20 14:30:00.000000001"
    assert set(frame["date"]) == {"2026-11-20"}


def test_other_days_files_are_not_opened(directory: Path, tmp_path: Path) -> None:
    """They may be gone, or broken."""
    copy = tmp_path / "parquet"
    for file in parquet(directory):
        to = copy / file.relative_to(directory / "parquet")
        to.parent.mkdir(parents=True, exist_ok=True)
        # The oldest and the newest tell the columns; those between are opened where the day is asked for.
        broken = "date=2026-11-20" in str(file)
        to.write_bytes(b"no Parquet" if broken else file.read_bytes())
    assert numbers(query(tmp_path, "trades", "AAPL", "2026-11-21T00:00:00Z")) == [5]
    with pytest.raises(Exception, match="Parquet"):
        query(tmp_path, "trades", "AAPL", "2026-11-20T00:00:00Z").fetchall()


def test_files_with_other_columns_go_together(directory: Path, tmp_path: Path) -> None:
    """As after a version that stores a field more."""
    for file in parquet(directory):
        to = tmp_path / file.relative_to(directory)
        to.parent.mkdir(parents=True, exist_ok=True)
        table = pq.read_table(file, partitioning=None)
        pq.write_table(table.drop_columns("tape") if "date=2026-11-19" in str(file) else table, to)
    found = query(tmp_path, "trades", "AAPL").project("id, tape").fetchall()
    assert found == [(0, None)] + [(number, "C") for number in range(1, 6)]


def test_what_is_wrong_is_said(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown channel 'trade'; there are trades"):
        query(directory, "trade")
    with pytest.raises(FileNotFoundError, match="no quotes below"):
        query(directory, "quotes")
    with pytest.raises(ValueError, match="no time zone"):
        query(directory, "trades", start=datetime(2026, 11, 20))
    with pytest.raises(ValueError, match="RFC 3339"):
        query(directory, "trades", start="yesterday")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with s3_server("data", "eu-west-1") as url:
        yield url.removeprefix("http://")


def test_from_the_bucket(directory: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s3 = boto3.client("s3", region_name="eu-west-1", endpoint_url=f"http://{bucket}")
    for file in parquet(directory):
        s3.upload_file(str(file), "data", f"market-data/{file.relative_to(directory / 'parquet')}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{bucket}")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    where = "s3://data/market-data"
    other = pyarrow.fs.S3FileSystem(endpoint_override=bucket, scheme="http", region="eu-west-1")
    wanted = "AAPL", "2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z"
    assert numbers(query("data/market-data", "trades", *wanted, filesystem=other)) == [1, 2, 3, 4]
    assert numbers(query(where, "trades", *wanted)) == [1, 2, 3, 4]
