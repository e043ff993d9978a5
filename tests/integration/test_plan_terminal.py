"""A plan with names of models on a real terminal: whole words, in the terminal's width, coloured or not."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.plan import cells

ROOT = Path(__file__).parents[2]
NAMES = [
    "mean_reversion/EURUSD/zscore-outer_0_inner_0",
    "mean_reversion/GOOG/a-much-longer-name-of-a-model-outer_10_inner_12",
    "momentum/AAPL/模型-outer_0_inner_1",
]
REASON = "has no server, and none of the stopped servers that no model claims has the right instance type"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")

Run = Callable[..., str]


@pytest.fixture
def plan_on_terminal(tmp_path: Path) -> Run:
    """Runs a play whose one task plans a server for each model, in check mode, and returns what the terminal gets."""
    lines = [{"action": "create", "type": "trading server", "name": name, "reasons": [REASON]} for name in NAMES]
    diff = {"prepared": "".join(f"create {name}: has no server\n" for name in NAMES)}
    tasks = [{"name": "Match the fleet", "pretend": {"plan": lines, "diff": diff}}, {"name": "Measure", "measure": {}}]
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"name": "Fleet", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]))

    def run(width: int, *, coloured: bool) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "ALGO_"))}
        env.pop("NO_COLOR", None)
        # Of the terminal of whoever runs the tests.
        env.pop("COLUMNS", None)
        env |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_ACTION_PLUGINS": str(ROOT / "tests" / "integration" / "plan_callback" / "action_plugins"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }
        if not coloured:
            env["ANSIBLE_NOCOLOR"] = "1"
        screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
        running = subprocess.Popen(
            ["ansible-playbook", "-i", "localhost,", "-c", "local", play, "--check", "--diff"],
            cwd=ROOT, env=env, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        read = b""
        while data := _read(screen):
            read += data
        os.close(screen)
        assert running.wait() == 0, read.decode()
        return read.decode().replace("\r\n", "\n")

    return run


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # nobody has the other end open any more
        return b""


@pytest.mark.parametrize("coloured", [True, False], ids=["coloured", "plain"])
@pytest.mark.parametrize("width", [60, 80, 140])
def test_words_stay_whole_and_lines_within_the_terminal(plan_on_terminal: Run, width: int, coloured: bool) -> None:
    output = plan_on_terminal(width, coloured=coloured)
    assert ("\x1b[" in output) is coloured
    assert f"room for {width - 1}\n" in output
    planned = output[output.index("+ create") :]
    for name in NAMES:
        # No style begins or ends within a line of the diff, a name or the words around it.
        assert re.search(rf"^(\x1b\[[0-9;]*m)?      create {re.escape(name)}: has no server(\x1b\[0m)?$", planned, re.M)
        assert re.search(rf"\+ trading server(\x1b\[0m)?  {re.escape(name)}", planned)
    lines = _STYLE.sub("", planned).splitlines()
    assert " ".join(" ".join(lines).split()).count(REASON) == len(NAMES)
    # What is wider than the terminal is a name, which is never cut, or a line of the diff, and nothing behind it.
    wide = {line.strip() for line in lines if cells(line) > width}
    assert wide <= {f"+ trading server  {name}" for name in NAMES} | {f"create {n}: has no server" for n in NAMES}
