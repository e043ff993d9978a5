# SPDX-License-Identifier: GPL-3.0-or-later
"""Small Parquet files become large ones when their day is over, whatever happens meanwhile."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpaca_websocket.protocol import Messages, rfc3339
from alpaca_websocket.store import Store, days
from alpaca_websocket.store.layout import Layout, Rolled
from alpaca_websocket.store.worker import Worker
from store_kit import fill, parquet, sample, settings, stored

from .test_bucket import BUCKET, S3, s3  # noqa: F401 the fixture

ROWS = 1_200


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A store with several small files of each kind, all of one day long ago."""
    for first in range(1, ROWS + 1, 300):
        store = Store.open(settings(tmp_path, compact_after_seconds=0.0))
        fill(store, first, 300)
        store.close()
    assert len(parquet(tmp_path)) == 8
    return tmp_path


def daily(directory: Path, kind: str = "*") -> list[Path]:
    return sorted((directory / "daily").glob(f"kind={kind}/date=*/*.parquet"))


def _worker(directory: Path, **changes: Any) -> Worker:
    return Worker(settings(directory, **{"compact_after_seconds": 1e-9, **changes}), threading.Event())


def _sequences(paths: list[Path]) -> list[int]:
    return sorted(row for path in paths for row in pq.ParquetFile(path).read(["sequence"])["sequence"].to_pylist())


def test_each_kind_of_a_day_that_is_over_is_one_file_and_the_small_ones_stay(directory: Path) -> None:
    made = _worker(directory)
    made.round()
    assert not made.status.roll_error
    assert len(daily(directory)) == made.status.daily_files == 2
    assert _sequences(daily(directory)) == _sequences(parquet(directory))
    for path in daily(directory):
        table = pq.ParquetFile(path).read()
        assert table.equals(table.sort_by([("symbol", "ascending"), ("sequence", "ascending")]))
    made.round()
    assert len(daily(directory)) == 2, "there is nothing more to do"
    store = Store.open(settings(directory))
    assert len(stored(store)) == ROWS
    store.close()


def test_what_is_added_later_gets_a_daily_file_of_its_own(directory: Path) -> None:
    _worker(directory).round()
    store = Store.open(settings(directory))
    fill(store, 5_001, 30)
    store.close()
    _worker(directory).round()
    assert len(daily(directory, "trades")) == 2
    assert _sequences(daily(directory)) == _sequences(parquet(directory))


def test_today_and_what_was_added_lately_are_left_alone(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path))
    store.append(Messages.of([sample("t", rfc3339(time.time_ns())), sample("q")]), time.time_ns())
    store.close()
    layout = Layout(tmp_path)
    now = time.time_ns()
    assert [[file.kind for file in files] for files in days.due(layout, now, 1e-9)] == [["quotes"]]
    assert list(days.due(layout, now, 3600)) == []
    assert sorted(files[0].kind for files in days.due(layout, now + 2 * 86_400 * 10**9, 3600)) == ["quotes", "trades"]


def test_a_large_day_is_several_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [path.stat().st_size for path in parquet(directory) if "kind=trades" in str(path)]
    monkeypatch.setattr(days, "LARGEST", sum(sizes[:2]))
    _worker(directory).round()
    assert len(daily(directory, "trades")) == 2
    assert _sequences(daily(directory)) == _sequences(parquet(directory))


def test_nothing_is_compacted_while_a_segment_waits(directory: Path) -> None:
    made = _worker(directory)
    broken = made.layout.sealed_segment(9_000_001, 9_000_009)
    broken.mkdir()  # it cannot be read
    made.round()
    assert made.status.roll_error
    assert not daily(directory)


def test_files_of_an_older_version_have_no_values_in_new_columns(directory: Path) -> None:
    first = sorted(path for path in parquet(directory) if "kind=trades" in str(path))[0]
    pq.write_table(pq.ParquetFile(first).read().drop_columns(["tape", "conditions"]), first)
    made = _worker(directory)
    made.round()
    assert not made.status.roll_error
    (path,) = daily(directory, "trades")
    assert set(pq.read_schema(path).names) >= {"tape", "conditions"}
    assert _sequences(daily(directory)) == _sequences(parquet(directory))


def test_a_day_that_was_thinned_out_before_it_was_over_gets_no_daily_file(directory: Path) -> None:
    layout = Layout(directory)
    gone = next(file for file in layout.rolled() if file.kind == "trades")
    made = _worker(directory, retain_bytes=0, compact_after_seconds=3600.0)
    for waiting in layout.rolled(layout.outbox):
        waiting.path.unlink()  # as if the bucket had them
    made.round()
    assert not gone.path.exists()
    made = _worker(directory)
    made.round()
    assert not daily(directory)


@pytest.mark.parametrize("allowed", [True, False])
def test_without_a_bucket_old_files_go_only_where_that_is_allowed(directory: Path, allowed: bool) -> None:
    before = len(parquet(directory))
    made = _worker(directory, retain_bytes=0, delete_unsaved=allowed)
    made.round()
    left = len(parquet(directory))
    assert (0 < left < before) is allowed  # the newest stays
    assert bool(made.status.pruned_bytes) is allowed
    assert bool(daily(directory)) is not allowed


def _in_bucket(client: Any) -> dict[str, list[int]]:
    """Sequence numbers by where they are: among the small files, or the daily ones."""
    found: dict[str, list[int]] = {"small": [], "daily": []}
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        body = client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        where = "daily" if "/daily/" in item["Key"] else "small"
        found[where] += pq.ParquetFile(pa.BufferReader(body)).read(["sequence"])["sequence"].to_pylist()
    return {name: sorted(numbers) for name, numbers in found.items()}


# What a step changes on the disk or in the bucket: a kill comes before any one of them.
_STEPS: list[tuple[Any, str]] = [(Path, "replace"), (Path, "unlink"), (Path, "touch"), (Path, "mkdir"), (os, "fsync")]


def _killed_at(step: int, work: Callable[[], object]) -> bool:
    """Does the work in a process of its own, which dies before that step. Whether it did."""
    child = os.fork()
    if not child:
        left = [step]

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)
                return real(*arguments, **options)

            return call

        for owner, name in _STEPS:
            setattr(owner, name, counted(getattr(owner, name)))
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_kill_at_any_step_neither_loses_nor_doubles(directory: Path, s3: S3) -> None:  # noqa: F811
    changes = {"bucket": BUCKET, "endpoint_url": s3.url}
    step = 0
    while _killed_at(step, lambda: _worker(directory, **changes).round(last=True)):
        step += 1
        in_bucket = _in_bucket(s3.client)
        for numbers in in_bucket.values():
            assert len(numbers) == len(set(numbers)), f"doubled after {step} steps"
        here = _sequences(daily(directory))
        assert len(here) == len(set(here)), f"doubled here after {step} steps"
        assert len(_sequences(parquet(directory))) == ROWS, f"lost here after {step} steps"
    assert step >= 8
    in_bucket = _in_bucket(s3.client)
    assert in_bucket["small"] == in_bucket["daily"] == _sequences(parquet(directory))
    assert s3.versions() == 10, "each of the eight small and two large ones was written once"
    assert not daily(directory), "the bucket has them"
    assert not [path for path in (directory / "tmp").iterdir() if not path.name.startswith("daily-")]
    before = sorted(directory.rglob("*"))
    _worker(directory, **changes).round(last=True)
    assert s3.versions() == 10
    assert [path for path in before if path.suffix == ".uploaded"] == sorted(directory.rglob("*.uploaded"))


def test_a_span_covers_what_lies_in_it() -> None:
    def file(first: int, last: int) -> Rolled:
        return Rolled(first, last, "trades", "2026-11-20", Path())

    assert file(1, 9).covers(file(1, 3))
    assert file(1, 9).covers(file(4, 9))
    assert not file(1, 9).covers(file(9, 12))
