# SPDX-License-Identifier: GPL-3.0-or-later
"""A test run that is killed leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import lifeline
from support import ROOT, alive, descendants, wait_for

# As a test would, with a second process between as pytest's workers are, and without ever ending them.
RUN = """
import sys, time
from pathlib import Path
from support import Server, StandIn
standin = StandIn()
server = Server(Path(sys.argv[1]), standin)
server.phase("streaming")
print("running", flush=True)
time.sleep(3600)
"""


def test_stand_in_server_and_worker_end_with_a_killed_test_run(tmp_path: Path) -> None:
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    started: list[int] = []
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == "running\n"
        started = descendants(run.pid)
        assert len(started) == 3
    finally:
        run.kill()
        run.wait()
    wait_for(lambda: not any(map(alive, started)), "its processes to end")


def test_any_program_ends_with_the_pipe_and_what_it_started_too() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, lifeline.__file__, str(reading), "--", "sh", "-c", "sleep 3600 & echo started; wait"],
        pass_fds=(reading,), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        started = descendants(process.pid)
        assert len(started) == 2
        os.close(writing)
        assert process.wait(60) != 0
        wait_for(lambda: not any(map(alive, started)), "the programs to end")
    finally:
        process.kill()
        os.close(reading)
