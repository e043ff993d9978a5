# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding the run above a task, and telling whether a process still lives."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable

import pytest
from ansible_collections.algo.trading.plugins.module_utils import _process as process
from ansible_collections.algo.trading.plugins.module_utils._process import Process

PLAYBOOK = ("/venv/bin/python3", "/venv/bin/ansible-playbook", "site.yml")


def look(*table: Process) -> Callable[[int], Process | None]:
    return {entry.pid: entry for entry in table}.get


def test_a_module_belongs_to_the_run_above_its_worker_and_shell() -> None:
    found = process.this_run(
        6,
        look(
            Process(6, 5, "6", ("python3", "/tmp/AnsiballZ_environment_lock.py")),
            Process(5, 4, "5", ("/bin/sh", "-c", "python3 /tmp/AnsiballZ_environment_lock.py")),
            Process(4, 3, "4", PLAYBOOK),
            Process(3, 2, "3", PLAYBOOK),
            Process(2, 1, "2", ("make", "demo")),
        ),
    )
    assert found is not None
    assert found.pid == 3


def test_a_playbook_started_by_a_task_is_a_run_of_its_own() -> None:
    found = process.this_run(
        5,
        look(
            Process(5, 4, "5", PLAYBOOK),
            Process(4, 3, "4", ("python3", "/tmp/AnsiballZ_command.py")),
            Process(3, 2, "3", PLAYBOOK),
        ),
    )
    assert found is not None
    assert found.pid == 5


@pytest.mark.parametrize(
    ("arguments", "is_run"),
    [
        (PLAYBOOK, True),
        (("/usr/bin/ansible-playbook",), True),
        (("python3.13", "-m", "ansible", "playbook"), True),
        (("vim", "ansible-playbook"), False),
        (("python3", "watch.py", "--then", "make"), False),
        (("",), False),
        ((), False),
    ],
)
def test_a_run_is_known_by_its_program(arguments: tuple[str, ...], is_run: bool) -> None:
    assert Process(1, 0, "1", arguments).is_ansible is is_run


def test_a_living_process_is_not_gone_and_a_dead_or_other_one_is() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        seen = process.look_up(child.pid)
        assert seen is not None
        assert seen.parent == os.getpid()
        assert not process.is_gone(child.pid, seen.started)
        assert process.is_gone(child.pid, "another start")
        assert child.stdin is not None
        child.stdin.close()
        # Not yet waited for: a zombie still has its id, but will never do anything again.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.is_gone(child.pid, seen.started)
    assert process.is_gone(child.pid, seen.started)


def test_a_process_that_is_hidden_from_us_counts_as_alive() -> None:
    assert not process.is_gone(os.getpid(), "1", look=lambda pid: None)


def test_this_machine_has_a_name_and_a_start() -> None:
    assert process.machine() == process.machine() != ""
    assert process.boot_id() == process.boot_id()
    assert "@" in process.user_at_host()


ARN = "arn:aws:sts::123456789012:assumed-role/operator/desk"


@pytest.mark.parametrize(
    ("login", "user", "who"),
    [
        ("alex", "root", "alex"),
        ("root", "root", "root"),
        ("", "alex", "alex"),
        (None, "alex", "alex"),
        # In a container or a job of cron.
        (None, "root", ARN),
        (None, None, ARN),
    ],
)
def test_an_order_names_the_login_the_user_or_the_credentials(
    login: str | None, user: str | None, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def entry(number: int) -> pwd.struct_passwd:
        if user is None:
            raise KeyError(number)
        number = 0 if user == "root" else 1000
        return pwd.struct_passwd((user, "x", number, number, "", "/", "/bin/sh"))

    monkeypatch.delenv("USER", raising=False)
    if login is not None:
        monkeypatch.setenv("USER", login)
    monkeypatch.setattr(pwd, "getpwuid", entry)
    assert process.person(ARN) == who
