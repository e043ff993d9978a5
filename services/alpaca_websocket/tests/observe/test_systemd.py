# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from alpaca_websocket.observe import systemd


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd listens on."""
    name = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        # The path of a Unix socket is short; relative to the directory it always fits.
        monkeypatch.chdir(tmp_path)
        listening.bind(name.name)
        listening.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", name.name)
        yield listening


def test_a_message_reaches_systemd(manager: socket.socket) -> None:
    assert systemd.notify("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")


def test_an_abstract_socket_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@algo-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:])
        assert systemd.notify("STOPPING=1")
        assert listening.recv(100) == b"STOPPING=1"


def test_a_manager_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("", None, None), ("0", None, None), ("x", None, None), ("30000000", None, 15.0), ("30000000", "1", None)],
)
def test_the_watchdog_is_fed_at_half_its_time_and_only_by_the_process_it_watches(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid or str(os.getpid()))
    assert systemd.watchdog_interval() == seconds


def test_a_server_that_does_not_work_gives_no_sign_of_life(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    answers = iter([True, False, True])

    async def run() -> None:
        task = asyncio.create_task(systemd.watchdog(lambda: next(answers, False), lambda: "streaming"))
        said = [await asyncio.to_thread(manager.recv, 100) for _ in range(4)]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        alive = b"STATUS=streaming\nWATCHDOG=1"
        assert said == [alive, b"STATUS=streaming", alive, b"STATUS=streaming"]

    asyncio.run(run())
