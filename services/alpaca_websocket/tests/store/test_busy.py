# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine whose cores all have other work: the store gets on with its own all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpaca_websocket.store import Store, StoreSettings
from alpaca_websocket.store.layout import Layout
from alpaca_websocket.store.worker import nicely, niceness
from store_kit import fill, settings, until

# Ends by itself, should the test be killed.
_BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@pytest.fixture
def busy() -> Iterator[None]:
    """As many processes as there are cores, none of them nice."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(os.cpu_count() or 1)]
    yield
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("busy")
def test_what_is_sealed_is_rolled_though_no_core_is_ever_idle(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, segment_bytes=20_000))
    fill(store, 1, 600)
    assert store.flush(60)
    until(lambda: store.stats().worker.rows, "the worker to roll")
    fill(store, 601, 600)
    assert store.close() == (0, 0)
    assert not Layout(tmp_path).segments()


@pytest.mark.usefixtures("busy")
def test_a_store_with_nothing_to_do_closes_though_no_core_is_ever_idle(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, close_seconds=StoreSettings(directory="").close_seconds))
    assert store.close() == (0, 0)
    assert store._process.returncode == 0, "the worker was killed, not waited for"


def test_the_more_waits_the_less_it_stands_back() -> None:
    shown = [niceness(waiting, False) for waiting in range(30)]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > shown[29] == 0
    assert niceness(0, stopping=True) == 0


def test_standing_back_ends_with_the_work() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert nicely(15, lambda: os.getpriority(os.PRIO_PROCESS, 0)) == max(15, before)
    assert nicely(0, lambda: os.getpriority(os.PRIO_PROCESS, 0)) == os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_stop_tells_what_it_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store.open(settings(tmp_path, close_seconds=0.0))
    fill(store, 1, 60)
    assert store.flush(60)
    left = store.close()
    assert left.segments + sum(1 for _ in Layout(tmp_path).rolled()) > 0
    if left.segments:
        assert "1 journal segments not in Parquet" in caplog.text
    again = Store.open(settings(tmp_path))
    assert again.close() == (0, 0)
