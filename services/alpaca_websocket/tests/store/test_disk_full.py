# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is really full, and one that really fails."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpaca_websocket.store import Store, StoreUnavailable
from store_kit import fill, settings, stored, until

DISK = 6 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill_until_refused(store: Store, number: int) -> int:
    def refused() -> bool:
        nonlocal number
        try:
            fill(store, number, 500, 50)
        except StoreUnavailable:
            return True
        number += 500
        store.flush(0.1)
        return False

    until(refused, "the disk to be full")
    return number


@pytest.mark.parametrize("reserve", [0, 2 * 2**20], ids=["to the last byte", "down to the reserve"])
def test_a_full_disk_is_refused_and_forgiven(disk: Path, reserve: int) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK - reserve - 2 * 2**20))
    store = Store.open(settings(disk / "store", min_free_bytes=reserve, segment_bytes=300_000))
    began = store.durable
    _fill_until_refused(store, 1)
    assert store.stats().state == "disk full"
    acknowledged = store.durable - began
    assert acknowledged > 0

    ballast.unlink()
    until(lambda: store.stats().state == "ok", "the store to go on")
    accepted = store.stats().sequence - began
    after = fill(store, accepted + 1, 100)
    assert store.flush(60)
    store.close()

    again = Store.open(settings(disk / "store", min_free_bytes=0))
    items = list(again.replay("tq"))
    assert [item.sequence for item in items] == list(range(began + 1, began + accepted + 101))
    assert [item.message for item in items[-100:]] == after
    again.close()


def test_a_failed_fsync_is_not_believed_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(settings(tmp_path))
    began = store.durable
    first = fill(store, 1, 10)
    assert store.flush()
    sync, failures = os.fdatasync, 2

    def failing(descriptor: int) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", failing)
    second = fill(store, 11, 10, size=10)
    until(lambda: store.stats().state != "ok", "the failure to show")
    with pytest.raises(StoreUnavailable, match="the disk fails: Input/output error"):
        fill(store, 21, 1)
    assert store.durable == began + 10
    until(lambda: store.stats().state == "ok", "the store to go on")
    assert store.durable == began + 20
    assert stored(store) == first + second
    store.close()
    again = Store.open(settings(tmp_path))
    assert stored(again) == first + second
    again.close()


def test_a_failed_write_ahead_of_the_commit_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(settings(tmp_path, commit_milliseconds=400))
    write, failures = os.writev, 1

    def failing(descriptor: int, pieces: list[bytes]) -> int:
        nonlocal failures
        if failures:
            failures -= 1
            write(descriptor, [b"".join(pieces)[:777]])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, pieces)

    monkeypatch.setattr(os, "writev", failing)
    sent = fill(store, 1, 600, size=50)
    until(lambda: store.stats().state == "disk full", "the failure to show")
    until(lambda: store.stats().state == "ok", "the store to go on")
    assert stored(store) == sent
    store.close()
    again = Store.open(settings(tmp_path))
    assert stored(again) == sent
    again.close()


def test_what_cannot_be_stored_at_the_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(settings(tmp_path))

    def failing(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", failing)
    fill(store, 1, 10, size=10)
    with pytest.raises(StoreUnavailable, match=r"10 messages .* could not be stored: No space left on device"):
        store.close()


def test_more_than_the_disk_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(settings(tmp_path, commit_milliseconds=60_000, max_pending_messages=100))
    fill(store, 1, 101)
    with pytest.raises(StoreUnavailable, match="does not keep up"):
        fill(store, 102, 1)
    assert store.flush()
    store.close()
