# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts a job in a unit of its own, so that it outlives the login that started it."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import NO_SYSTEMD, REFUSED, HostError
from .job import powering_off, running
from .places import JOB_UNIT, Places, held
from .settings import Settings

# Beyond what the job has for its end: to store its last checkpoint.
_STORE_SECONDS = 300
_PROGRAM = "/usr/local/bin/algo-gpu"


@dataclass(frozen=True)
class Order:
    """What was asked for."""

    command: tuple[str, ...]
    name: str
    checkpoints: str
    to: str
    store: bool
    user: str
    environment_file: str
    tell: str
    wait: bool


def launch(places: Places, settings: Settings, order: Order, caller: Mapping[str, str]) -> int:
    """
    :returns: the job's exit status; 0 if it is not waited for
    :raises HostError: if it is not started
    """
    refusal = powering_off(places)
    if refusal:
        raise refusal
    if held(places.job_lock):
        raise running(places)
    command = unit_command(settings, order, caller, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), Path.cwd())
    asked: list[int] = []
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, _frame: asked.append(number))
    # Of its own session: Ctrl-C reaches this process only, which asks systemd to end the job.
    try:
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except FileNotFoundError:
        raise HostError(f"The job was not started: {NO_SYSTEMD}.", REFUSED) from None
    while True:
        try:
            return started.wait(1)
        except subprocess.TimeoutExpired:
            if asked:  # again and again: the first may come before the unit is there
                subprocess.run(["systemctl", "stop", "--no-block", f"{JOB_UNIT}.service"], check=False)


def unit_command(settings: Settings, order: Order, caller: Mapping[str, str], moment: str, folder: Path) -> list[str]:
    user = order.user or caller.get("SUDO_USER", "") or settings.user
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise HostError(f"There is no user {user} on this host. Name another one: --user.", REFUSED) from None
    name = order.name or moment
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise HostError(f"{name!r} is no name of a job: letters, digits, dots, dashes and underscores.", REFUSED)
    to = order.to or (f"{settings.checkpoints.rstrip('/')}/{name}" if settings.checkpoints else "")
    if order.store and not to:
        raise HostError(
            "It is not known where checkpoints are stored. Name a place, --to s3://BUCKET/PREFIX, set "
            "gpu_host_checkpoints, or run without: --no-store.",
            REFUSED,
        )
    properties = [
        f"User={user}",
        f"WorkingDirectory={folder}",
        f"RuntimeDirectory={JOB_UNIT}",
        "RuntimeDirectoryPreserve=yes",
        # Only the supervisor is told to end; it ends the job, and stores what that has written.
        "KillMode=mixed",
        f"TimeoutStopSec={settings.stop_seconds + _STORE_SECONDS}",
        # At a shutdown it is stopped while there still is a network.
        "After=network-online.target",
        "LimitMEMLOCK=infinity",
        *([f"EnvironmentFile={os.path.abspath(order.environment_file)}"] if order.environment_file else []),
    ]
    return [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit={JOB_UNIT}",
        f"--description=Training job {name}",
        *(["--wait"] if order.wait else []),
        *(f"--property={each}" for each in properties),
        "--",
        _PROGRAM,
        "supervise",
        f"--name={name}",
        f"--checkpoints={folder / (order.checkpoints or 'checkpoints')}",
        *([f"--to={to}"] if order.store else []),
        *([f"--signal={order.tell}"] if order.tell else []),
        "--",
        *order.command,
    ]


def check_command(command: Sequence[str]) -> tuple[str, ...]:
    given = tuple(command[1:] if command[:1] == ["--"] else command)
    if not given:
        raise HostError("No command. Name one: algo-gpu run -- python train.py", REFUSED)
    return given
