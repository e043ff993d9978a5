# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import platform
import re
import sys
import threading
from pathlib import Path

import pytest

from alpaca_websocket import turns
from support import Server, StandIn, ended

ASKED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
linux = pytest.mark.skipif(not ASKED, reason="only Linux is asked")


def told(task: int) -> int | None:
    """The turn that a thread has, in ns; None where the kernel does not tell, or is older than 6.12."""
    if tuple(map(int, platform.release().split("-")[0].split(".")[:2])) < (6, 12):
        return None
    try:
        found = re.search(r"^se\.slice\s*:\s*(\d+)", Path(f"/proc/{task}/sched").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return int(found[1]) if found else None


@linux
def test_a_thread_gets_short_turns_and_keeps_its_niceness() -> None:
    found: list[object] = []

    def run() -> None:  # on a thread of its own, so that the tests after this one keep theirs
        task = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, task, 3)
        found.extend((turns.short(), os.getpriority(os.PRIO_PROCESS, task), os.sched_getscheduler(task), told(task)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found[:3] == [True, 3, os.SCHED_OTHER]
    assert found[3] in (None, turns.SHORT_NS)


def test_where_the_call_is_not_known_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert turns.short() is False


@linux
def test_the_event_loop_has_them_and_journal_and_worker_do_not(tmp_path: Path) -> None:
    standin = StandIn()
    with ended(standin):
        server = Server(tmp_path / "1", standin)
        with ended(server):
            if told(server.popen.pid) is None:
                pytest.skip("this kernel does not tell how long a thread's turns are")
            tasks = {int(task.name) for task in Path(f"/proc/{server.popen.pid}/task").iterdir()}
            journal = [task for task in tasks if os.getpriority(os.PRIO_PROCESS, task) > 0]
            assert told(server.popen.pid) == turns.SHORT_NS
            assert journal
            assert all(told(task) != turns.SHORT_NS for task in journal)
            assert server.stop() == 0
