# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A training job: one at a time, in a unit of its own, with its checkpoints stored as they are written."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoints import Mirror
from .errors import NOT_STORED, REFUSED, HostError
from .places import Places, now, read_json, take, write_json, written_at

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """
    :param to: where its checkpoints are stored; empty for nowhere
    :param tell: the signal that a notice sends, None for none: a program that does not expect it would be ended by it
    :param stop_seconds: how long it may take to end
    :param sync_seconds: how often the checkpoints are looked at
    """

    name: str
    command: tuple[str, ...]
    checkpoints: Path
    to: str
    tell: signal.Signals | None
    stop_seconds: float
    sync_seconds: float


def powering_off(places: Places) -> HostError | None:
    if not places.powering_off.exists():
        return None
    return HostError("The host is being powered off because nothing ran on it. Start it again, then run the job.")


def running(places: Places) -> HostError:
    told = read_json(places.job)
    return HostError(
        f"A job runs already: {told.get('name', 'unknown')}, since {told.get('started', 'unknown')}. "
        "Wait for its end, or end it: systemctl stop algo-gpu-job"
    )


class Supervisor:
    """The main process of the job's unit, with the rights of the job's user."""

    def __init__(self, places: Places, job: Job, mirror: Mirror | None, say: Callable[[str], None]) -> None:
        self._places, self._job, self._mirror, self._say = places, job, mirror, say
        self._asked, self._kill_at = False, 0.0
        self._notice: dict[str, Any] = {}
        self._notice_at, self._notice_stored = 0, False
        self._written: dict[str, Any] = {}

    def run(self, environment: Mapping[str, str]) -> int:
        """The job's exit status; another one if it succeeded and its checkpoints are not stored."""
        lock = take(self._places.job_lock)
        if lock is None:
            raise running(self._places)
        # After the lock: whoever powers off writes the file first and looks at the lock then.
        refusal = powering_off(self._places)
        if refusal:
            raise refusal
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._stop)
        self._job.checkpoints.mkdir(parents=True, exist_ok=True)
        facts = {"name": self._job.name, "command": self._job.command[0], "started": now(), "to": self._job.to}
        try:
            # A group of its own: the job gets each signal once, from here.
            child = subprocess.Popen(self._job.command, env=dict(environment), start_new_session=True)
        except OSError as error:
            raise HostError(f"{self._job.command[0]} cannot be started: {error}", REFUSED) from error
        if self._mirror:
            self._mirror.start()
        code = self._watch(child, facts)
        unstored = self._mirror.finish() if self._mirror else []
        if unstored:
            self._say(f"NOT stored in {self._job.to}: {', '.join(unstored)}. They are in {self._job.checkpoints}.")
        self._tell({**facts, "state": "ended", "exit_status": code, "ended": now(), "unstored": unstored})
        return NOT_STORED if unstored and not code else code

    def _stop(self, number: int, _frame: object) -> None:
        self._asked = True

    def _watch(self, child: subprocess.Popen[bytes], facts: Mapping[str, Any]) -> int:
        while True:
            self._look_at_notice(child)
            state = "stopping" if self._kill_at else "running"
            self._tell({**facts, "state": state, **({"notice": self._notice} if self._notice else {})})
            if self._asked and not self._kill_at:
                self._kill_at = time.monotonic() + self._job.stop_seconds
                self._say(f"ending the job, for which it has {self._job.stop_seconds:g} s")
                _signal_group(child, signal.SIGTERM)
            elif self._kill_at and time.monotonic() > self._kill_at:
                self._say("the job has not ended in its time, and is killed")
                _signal_group(child, signal.SIGKILL)
            try:
                code = child.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            # As a shell says it.
            return code if code >= 0 else 128 - code

    def _look_at_notice(self, child: subprocess.Popen[bytes]) -> None:
        found = read_json(self._places.notice)
        if found != self._notice:
            self._notice, self._notice_stored = found, False
            # The file's own time: a job that watches it may have written its checkpoint already.
            self._notice_at = written_at(self._places.notice)
            if found:
                self._say(f"told the job of the {found.get('kind', '')} at {found.get('time') or 'an unknown time'}")
                if self._mirror:
                    self._mirror.hurry()
                if self._job.tell:
                    child.send_signal(self._job.tell)
        if self._notice and self._mirror and not self._notice_stored and self._mirror.has_of(self._notice_at):
            self._notice_stored = True
            self._say(f"a checkpoint written after the notice is stored in {self._job.to}")

    def _tell(self, told: dict[str, Any]) -> None:
        told = {**told, **({"checkpoints": self._mirror.report()} if self._mirror else {})}
        if self._notice:
            told["notice_stored"] = self._notice_stored
        if told != self._written:
            write_json(self._places.job, told)
            self._written = told


def environment_of(places: Places, job: Job, given: Mapping[str, str]) -> dict[str, str]:
    """The job finds the environment with PyTorch first, and learns where its checkpoints and the notice are."""
    own = str(places.python.parent)
    found = {**given, "ALGO_GPU_CHECKPOINTS": str(job.checkpoints), "ALGO_GPU_NOTICE": str(places.notice)}
    # Output reaches the journal as it is printed.
    found["PYTHONUNBUFFERED"] = "1"
    if places.python.exists():
        found.update(
            VIRTUAL_ENV=str(places.python.parents[1]), PATH=f"{own}{os.pathsep}{given.get('PATH', os.defpath)}"
        )
    return found


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
