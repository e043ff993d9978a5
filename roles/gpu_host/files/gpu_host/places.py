# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are, and how they are read and written."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

JOB_UNIT = "algo-gpu-job"
SPOT_UNIT = "algo-gpu-spot.service"
IDLE_UNIT = "algo-gpu-idle.timer"


class Places:
    """
    :param root: another place of all files, for tests
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.settings = root / "etc/algo-gpu/settings.json"
        self.environment = root / "etc/algo-trading/environment.json"
        self.versions = root / "opt/algo-gpu"
        # Written by root: the spot notice, the idle stop's last look, and that the host is about to be powered off.
        self.notice = root / "run/algo-gpu/notice.json"
        self.idle = root / "run/algo-gpu/idle.json"
        self.powering_off = root / "run/algo-gpu/powering-off"
        # Written by the job's user, who may not be trusted with more than that.
        self.job = root / "run/algo-gpu-job/job.json"
        self.job_lock = root / "run/algo-gpu-job/lock"
        self.proc = root / "proc"
        self.pci = root / "sys/bus/pci/devices"

    @property
    def python(self) -> Path:
        return self.versions / "current/bin/python"


def read_json(path: Path) -> dict[str, Any]:
    """What a file says; nothing if there is none, or none that can be used."""
    try:
        # Never a link or a pipe that a job's user has put there.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, encoding="utf-8") as file:
            found = json.loads(file.read()) if stat.S_ISREG(os.fstat(handle).st_mode) else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """At once or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.chmod(0o644)
    unfinished.replace(path)


def written_at(path: Path) -> int:
    """In ns; 0 if there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def take(path: Path, patience: float = 2.0) -> int | None:
    """Take a lock until this process ends or closes the returned file; None if another process has it.

    :param patience: seconds; `held` has the lock for a moment, too
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(handle)
                return None
            time.sleep(0.05)


def held(path: Path) -> bool:
    """Whether a process has the lock. The kernel releases it with its process, however that ends."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
