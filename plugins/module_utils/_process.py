# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which run of ansible-playbook this is, and whether another one on this machine still lives."""

from __future__ import annotations

import getpass
import os
import pwd
import socket
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePath

_PROGRAMS = frozenset({"ansible", "ansible-playbook", "ansible-console"})
_PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A running process; `started` changes when its id is used again."""

    pid: int
    parent: int
    started: str
    arguments: tuple[str, ...]

    @property
    def is_ansible(self) -> bool:
        program, *rest = (PurePath(argument).name for argument in self.arguments[:4] or ("",))
        # Itself, or behind an interpreter and its options, also as python -m ansible.
        return program in _PROGRAMS or (program.startswith("python") and not _PROGRAMS.isdisjoint(rest))


def look_up(pid: int) -> Process | None:
    """A process by its id; None if there is none, or if it can't be looked at."""
    return _from_proc(pid) if (_PROC / "self").exists() else _from_ps(pid)


def _from_proc(pid: int) -> Process | None:
    try:
        # The name in parentheses may itself hold spaces and parentheses.
        after_name = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        arguments = (_PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return None
    if after_name[0] in "ZX":  # a zombie no longer does anything
        return None
    return Process(pid, int(after_name[1]), after_name[19], tuple(arguments))


def _from_ps(pid: int) -> Process | None:
    command = ["ps", "-ww", "-o", "ppid=,lstart=,command=", "-p", str(pid)]
    environment = {**os.environ, "LC_ALL": "C"}
    # Not a module's own run_command: this is asked of the controller, without a module.
    # pylint: disable-next=ansible-bad-function
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 (a number)
    words = done.stdout.split()
    if done.returncode or len(words) < 7:
        return None
    return Process(pid, int(words[0]), " ".join(words[1:6]), tuple(words[6:]))


def this_run(pid: int, look: Callable[[int], Process | None] = look_up) -> Process | None:
    """The ansible-playbook above a process: past its workers, but not past a task that started another playbook."""
    run: Process | None = None
    while pid > 0:
        process = look(pid)
        if process is None:
            break
        if process.is_ansible:
            run = process
        elif run is not None:
            break
        pid = process.parent
    return run or look(os.getppid())


def is_gone(pid: int, started: str, look: Callable[[int], Process | None] = look_up) -> bool:
    """Whether that process certainly no longer runs. When in doubt, it runs."""
    process = look(pid)
    if process is not None:
        return process.started != started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # another user's, hidden from us
        return False
    return _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return False


def person(arn: str) -> str:
    """Who gives an order: the login, which containers and cron do not name, else the user that this runs as.

    root is nobody in particular: whose credentials these are tells more.
    """
    if os.environ.get("USER", "").strip():
        return os.environ["USER"].strip()
    try:
        user = pwd.getpwuid(os.geteuid())
    except KeyError:  # a container's user without a name
        return arn
    return user.pw_name if user.pw_uid else arn


def user_at_host() -> str:
    """Who runs this, for people to read."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def machine() -> str:
    """A name for the place within which process ids mean the same: host, and namespace of processes."""
    try:
        identity = Path("/etc/machine-id").read_text().strip()
    except OSError:
        identity = ""
    try:
        namespace = os.readlink(_PROC / "self" / "ns" / "pid")
    except OSError:
        namespace = "-"
    return f"{socket.gethostname()}/{identity or f'{uuid.getnode():012x}'}/{namespace}"


def boot_id() -> str:
    """Changes with each start of the machine; empty where the system doesn't tell."""
    try:
        return (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    except OSError:
        return ""


def booted() -> datetime | None:
    """When the machine was started, where the system tells."""
    try:
        lines = (_PROC / "stat").read_text().splitlines()
        return datetime.fromtimestamp(int(next(x for x in lines if x.startswith("btime")).split()[1]), UTC)
    except (OSError, StopIteration):
        return None
