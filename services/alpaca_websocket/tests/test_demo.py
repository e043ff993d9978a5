# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo-feed` does, from its first line to nothing left behind."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest

from support import PATIENCE, alive, descendants, get, wait_for

ROOT = Path(__file__).parents[3]
BARS = r"every bar +\d+ (bars|daily bars)"


def locked(*kinds: str) -> set[str]:
    """The packages in these dependency sets of this Python."""
    generation = "3.11" if sys.version_info < (3, 12) else "3.12"
    files = [ROOT / "requirements" / f"python{generation}{kind}.txt" for kind in kinds]
    return {name for file in files for name in re.findall(r"^([a-z0-9._-]+)==", file.read_text(), re.MULTILINE)}


def hide_all_but_the_demonstrations_set(folder: Path) -> str:
    """A folder for PYTHONPATH in which no other package of the project's can be imported."""
    there = locked("-demo-feed")
    missing = locked("", "-dev") - there
    for module, packages in metadata.packages_distributions().items():
        names = {re.sub(r"[-_.]+", "-", name).lower() for name in packages}
        if names <= missing and module.isidentifier():
            (folder / f"{module}.py").write_text(f"raise ImportError('{module} is not in the set of make demo-feed')\n")
    return str(folder)


def folder_of(demo: subprocess.Popen[str]) -> Path:
    """The one that this demonstration uses; others may be running."""
    pids = ",".join(map(str, descendants(demo.pid)))
    command = ["ps", "-ww", "-o", "args=", "-p", pids]  # not cut to a terminal's width
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    (found,) = set(re.findall(rf"{ROOT}/.cache/demo-feed-\w+(?=/settings)", listed))
    return Path(found)


def processes(work: str) -> list[str]:
    """The command lines that name the demo's folder."""
    listed = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if work in line]


@pytest.mark.parametrize("how", ["bounded", "Ctrl-C"])
def test_three_clients_receive_and_nothing_is_left(how: str, tmp_path: Path) -> None:
    hidden = hide_all_but_the_demonstrations_set(tmp_path)
    assert (tmp_path / "boto3.py").exists()
    seconds = ["--seconds", "1"] if how == "bounded" else []
    # A shell's background jobs ignore Ctrl-C, and hand that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "demo_feed.py"), *seconds],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONPATH": hidden},
    )  # fmt: skip
    said: list[str] = []
    assert demo.stdout is not None
    reader = threading.Thread(target=said.extend, args=(demo.stdout,), daemon=True)
    reader.start()
    try:

        def address() -> re.Match[str] | None:
            assert demo.poll() is None, f"it has ended: {''.join(said)}"
            return re.search(r"http://[\d.:]+/", "".join(said))

        page = wait_for(address, "the page's address", 2 * PATIENCE)
        assert page is not None
        status, html = get(page[0])
        assert (status, "<html" in html.lower()) == (200, True)
        work = folder_of(demo)
        if how == "Ctrl-C":
            wait_for(lambda: re.search(BARS, "".join(said)), "what the clients receive", 2 * PATIENCE)
            demo.send_signal(signal.SIGINT)
        assert demo.wait(2 * PATIENCE) == 0, "".join(said)
    finally:
        demo.kill()
    reader.join(PATIENCE)
    text = "".join(said)
    assert re.search(r"one stock's trades +\d+ trades", text)
    assert re.search(r"two stocks' quotes +\d+ quotes", text)
    assert re.search(BARS, text)
    assert not work.exists()
    assert processes(str(work)) == []


def test_a_kill_ends_all_of_it_and_the_next_one_deletes_what_was_left() -> None:
    command = [sys.executable, str(ROOT / "tools" / "demo_feed.py")]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if re.search(r"http://[\d.:]+/", line):
                break
        work = folder_of(demo)
        started = descendants(demo.pid)
        assert len(started) >= 6  # stand-in, server, its store's worker, three clients
    finally:
        demo.kill()
        demo.wait()
    wait_for(lambda: not any(map(alive, started)), "all that it had started to end")
    assert work.exists()
    again = subprocess.run([*command, "--seconds", "1"], capture_output=True, text=True, timeout=4 * PATIENCE)
    assert again.returncode == 0, again.stdout + again.stderr
    assert not work.exists()


@pytest.mark.parametrize(
    ("body", "seconds", "told"),
    [
        ("time.sleep(1000)", 0.0, r"program did not start within 0 s:\nbegun\n.*line 3 in starts"),
        ("raise ValueError('a reason')", PATIENCE, r"program ended while it started:\nbegun\n.*ValueError: a reason"),
    ],
    ids=["hangs", "fails"],
)
def test_a_program_that_does_not_start_is_named_and_shown(
    body: str, seconds: float, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = f"import time\ndef starts():\n    print('begun', flush=True); {body}\nstarts()\n"
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(ROOT / "tools")
    demo_feed = importlib.import_module("demo_feed")
    monkeypatch.setattr(demo_feed, "_PATIENCE", seconds)
    demo = demo_feed.Demo(tmp_path)
    # A shell's background jobs ignore it, as Ctrl-C, and hand that down.
    before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        demo._spawn("program")
        wait_for(lambda: "begun" in demo._log(0).read_text(), "the program to begin")
        with pytest.raises(SystemExit, match=f"(?s){told}"):
            demo._told("port")
        assert demo.ended() == "program"
    finally:
        signal.signal(signal.SIGQUIT, before)
        demo.stop()
