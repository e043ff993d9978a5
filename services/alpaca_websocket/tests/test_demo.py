# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make demo-feed` does, from its first line to nothing left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support import PATIENCE, get, wait_for

ROOT = Path(__file__).parents[3]
BARS = r"every bar +\d+ (bars|daily bars)"


def processes(work: str) -> list[str]:
    """The command lines that name the demo's folder."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if work in line]


@pytest.mark.parametrize("how", ["bounded", "Ctrl-C"])
def test_three_clients_receive_and_nothing_is_left(how: str) -> None:
    seconds = ["--seconds", "1"] if how == "bounded" else []
    before = set((ROOT / ".cache").glob("demo-feed-*"))
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "demo_feed.py"), *seconds],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said: list[str] = []
    assert demo.stdout is not None
    reader = threading.Thread(target=said.extend, args=(demo.stdout,), daemon=True)
    reader.start()
    try:
        page = wait_for(lambda: re.search(r"http://[\d.:]+/", "".join(said)), "the page's address", 2 * PATIENCE)
        assert page is not None
        status, html = get(page[0])
        assert (status, "<html" in html.lower()) == (200, True)
        (work,) = set((ROOT / ".cache").glob("demo-feed-*")) - before
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
