# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemd knows of a unit, and what it is told."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import HostError

_SYSTEMCTL = "/usr/bin/systemctl"


@dataclass(frozen=True)
class Unit:
    """The state of a unit."""

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    status: int = 0

    @property
    def installed(self) -> bool:
        return self.load == "loaded"

    @property
    def running(self) -> bool:
        return self.active in ("active", "activating", "reloading", "deactivating")


def show(name: str) -> Unit:
    wanted = ("LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus")
    done = _run("show", name, f"--property={','.join(wanted)}", seconds=30)
    found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    status = found.get("ExecMainStatus", "0")
    return Unit(
        load=found.get("LoadState", "not-found"),
        active=found.get("ActiveState", "inactive"),
        sub=found.get("SubState", "dead"),
        result=found.get("Result", "success"),
        status=int(status) if status.isdigit() else 0,
    )


def start(name: str, seconds: float) -> bool:
    """Whether it started; with Type=notify that is when it is ready."""
    _run("reset-failed", name, seconds=30)
    return _run("start", name, seconds=seconds).returncode == 0


def stop(name: str, seconds: float) -> bool:
    return _run("stop", name, seconds=seconds).returncode == 0


def since_power_on(monotonic: Callable[[], float] = time.monotonic) -> float | None:
    """Seconds since power-on; in a container, since its systemd was started. None if that is not known."""
    done = _run("show", "--property=KernelTimestamp,UserspaceTimestampMonotonic", seconds=30)
    found = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    userspace = found.get("UserspaceTimestampMonotonic", "")
    if not userspace.isdigit():
        return None
    # The kernel's clock starts with the kernel; a container has no kernel of its own, and systemd says so.
    own_kernel = found.get("KernelTimestamp", "") not in ("", "n/a", "0")
    return round(monotonic() - (0 if own_kernel else int(userspace) / 1e6), 3)


def reload() -> None:
    _run("daemon-reload", seconds=60)


def _run(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    command = [_SYSTEMCTL, "--no-pager", *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"systemctl {' '.join(arguments)} has not ended within {seconds:g} s.") from None
