# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 of a real server process, again and again, wherever it happens to be."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from alpaca_websocket.store import Store
from store_kit import assert_contiguous, fill, numbered, parquet, settings, stored, until

_WRITER = Path(__file__).with_name("writer.py")
ROUNDS = 28  # every seventh goes on until Parquet has been written, too


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(_WRITER), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    yield process
    process.stdin.close()  # type: ignore[union-attr]
    process.wait()


def _round(writers: subprocess.Popen[bytes], commits: int, until_seen: Callable[[], bool]) -> int:
    """Starts a writer, kills it after some commits, and returns the last sequence number it acknowledged."""
    assert writers.stdin
    assert writers.stdout
    writers.stdin.write(b"\n")
    writers.stdin.flush()
    pid = int(writers.stdout.readline())
    last = 0
    while commits > 0 or not until_seen():
        last = int(writers.stdout.readline())
        commits -= 1
    os.kill(pid, signal.SIGKILL)
    while (line := writers.stdout.readline()) != b"ended\n":  # what it told before it died
        assert line, "the writer's parent ended"
        last = int(line)
    return last


def test_nothing_acknowledged_is_missing_and_nothing_is_there_twice(
    tmp_path: Path, writers: subprocess.Popen[bytes]
) -> None:
    chance = random.Random(9)
    acknowledged = 0
    for number in range(ROUNDS):
        files = len(parquet(tmp_path)) + chance.randint(1, 4) if number % 7 == 6 else 0
        acknowledged = _round(writers, chance.randint(1, 60), lambda files=files: len(parquet(tmp_path)) >= files)  # type: ignore[misc]
    # Where the last kill came between two segments, there was nothing open, and so nothing to recover.
    store = Store.open(settings(tmp_path))
    assert not any(segment.missing for segment in store.recovery.segments)
    items = list(store.replay("tq"))
    assert_contiguous(item.sequence for item in items)
    assert items[-1].sequence >= acknowledged
    assert [item.message for item in items] == [numbered(item.sequence) for item in items]
    store.close()

    rows = sorted(row for path in parquet(tmp_path) for row in pq.read_table(path)["sequence"].to_pylist())
    assert rows == [item.sequence for item in items]


def test_a_killed_worker_is_started_again_and_does_its_work(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, segment_bytes=20_000))
    sent = []
    for number in range(3):
        before = store.stats().worker_restarts
        sent += fill(store, number * 2_000 + 1, 2_000)
        assert store.flush()
        os.kill(store.worker_pid, signal.SIGKILL)
        until(lambda before=before: store.stats().worker_restarts > before, "the worker to be started again")  # type: ignore[misc]
    until(lambda: store.stats().worker.rows, "the new worker to roll")
    assert stored(store) == sent
    store.close()
    assert sum(pq.read_metadata(path).num_rows for path in parquet(tmp_path)) == len(sent)
