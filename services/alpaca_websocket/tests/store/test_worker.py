# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's pace: it leaves the core to the event loop, but not when it is waited for or falls behind."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from alpaca_websocket.store import worker
from alpaca_websocket.store.records import encode, seed
from alpaca_websocket.store.worker import Worker
from store_kit import batch, numbered, settings

RECORDS = 3


class _Stop(threading.Event):
    """Notes how long it was waited for, and does not take that long."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        return self.is_set()


def _worker(directory: Path, segments: int, stop: threading.Event) -> Worker:
    made = Worker(settings(directory), stop)
    made.layout.create()
    for number in range(segments):
        first = 1 + number * RECORDS
        records = [
            b"".join(encode([batch(each, each, [numbered(each)])], seed(first), each - 1))
            for each in range(first, first + RECORDS)
        ]
        made.layout.sealed_segment(first, first + RECORDS - 1).write_bytes(b"".join(records))
    return made


@pytest.fixture(autouse=True)
def _every_piece_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_PIECE_SECONDS", 0.0)


def test_it_rests_longer_than_it_worked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _each_look_comes_after(1.0, monkeypatch)
    stop = _Stop()
    made = _worker(tmp_path, 1, stop)
    made.round()
    assert stop.waits == [3.0] * RECORDS
    assert sum(made.status.rows.values()) == RECORDS


def test_it_does_not_rest_while_many_segments_wait(tmp_path: Path) -> None:
    stop = _Stop()
    made = _worker(tmp_path, 7, stop)
    made.round()
    assert len(stop.waits) == 4 * RECORDS  # for the last four only
    assert sum(made.status.rows.values()) == 7 * RECORDS
    assert not made.status.roll_error


def test_it_does_not_rest_when_the_server_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _each_look_comes_after(1e5, monkeypatch)  # a rest would be one of days
    stop = threading.Event()
    stop.set()
    made = _worker(tmp_path, 1, stop)
    made.round(last=True)
    assert sum(made.status.rows.values()) == RECORDS


def _each_look_comes_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count(0.0, seconds)
    monkeypatch.setattr(time, "process_time", lambda: next(moments))


def test_work_that_began_nicely_begins_again_when_the_server_stops(tmp_path: Path) -> None:
    class StopsSoon(_Stop):
        def wait(self, timeout: float | None = None) -> bool:
            self.set()
            return super().wait(timeout)

    stop = StopsSoon()
    made = _worker(tmp_path, 2, stop)
    made.round()
    assert made._nice == 0
    assert made.status.rows == {"quotes": 2, "trades": 4}
    assert not made.status.roll_error
    assert not list(made.layout.tmp.iterdir())
