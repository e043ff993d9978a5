"""The benchmark of hosts: its tables, and what it counts. With hosts it runs by hand only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.algo.trading.tests.bench.hosts import figures
from ansible_collections.algo.trading.tests.bench.hosts.scene import Took, _release

ROOT = Path(__file__).parents[2]
LONGEST = [("Install", 20.5), ("Look", 0.01)]
ROW = Took("base", "first run, base image", 10, 61.24, 7.0, 90.5, 12, 300, 420, 40, 400, 95, LONGEST)


def test_runs_become_a_table_with_what_took_longest() -> None:
    lines = figures.report([ROW], 10, "2 cores.")
    assert "| first run, base image | 61.2 | 7.0 | 90.5 | 40 | 400 | 95 | 300 | 420 | 12 |" in lines
    assert "First run, base image, the longest tasks, in seconds on a host in the middle: Install 20.5." in lines
    header = next(line for line in lines if line.startswith("| run"))
    assert header.count("|") == lines[lines.index(header) + 2].count("|")


def test_the_table_takes_the_place_of_the_one_in_the_documentation() -> None:
    document = (ROOT / "docs" / "performance-hosts.md").read_text()
    written = figures.splice(document, figures.report([ROW], 10, "2 cores."))
    assert "| first run, base image | 61.2 |" in written
    assert figures.splice(written, figures.report([ROW], 10, "2 cores.")) == written
    with pytest.raises(ValueError, match="The document needs"):
        figures.splice(document + figures.BEGIN, [])


def test_an_image_of_the_clone_is_never_taken_by_itself() -> None:
    assert _release(None)["images"]["trading_server"] is None
    assert _release("/parameter")["images"]["trading_server"] == "/parameter"
    assert _release(None)["images"]["host"]


def test_tasks_are_counted_as_hosts_did_them(tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(
        "- hosts: all\n  gather_facts: false\n  connection: local\n  tasks:\n"
        "    - {name: Change, ansible.builtin.command: 'true'}\n"
        "    - {name: Skip, ansible.builtin.command: 'true', when: false}\n"
    )
    tasks = tmp_path / "tasks.json"
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")} | {
        "HOME": str(tmp_path),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "bench" / "hosts" / "callback"),
        "ANSIBLE_CALLBACKS_ENABLED": "task_times",
        "BENCH_TASKS": str(tasks),
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    done = subprocess.run(
        [program, "-i", "one,two,", "-e", f"ansible_python_interpreter={sys.executable}", str(play)],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = json.loads(tasks.read_text())
    assert {name: (row["results"], row["changed"], row["skipped"]) for name, row in counted.items()} == {
        "Change": (2, 2, 0),
        "Skip": (2, 0, 2),
    }
