# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run, as reported at the end and written as JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ._lines import Failure, Line, count
from ._times import Times

# Raised when a field changes its meaning or goes; new fields may come without.
VERSION = 2
_SLOWEST = 10


class Report:
    """Collects what happened. Knows nothing of Ansible's objects."""

    def __init__(self, playbook: str, *, check: bool, started: datetime, ansible_version: str) -> None:
        self.playbook, self.check, self.started, self.ansible_version = playbook, check, started, ansible_version
        self.lines: list[Line] = []
        self.failures: list[Failure] = []
        self.steps: list[tuple[float, str, str]] = []
        self.times = Times()
        self.summary: Mapping[str, Any] = {}
        self.recap: dict[str, dict[str, int]] = {}
        self.finished: datetime | None = None

    def finish(self, recap: Mapping[str, Mapping[str, int]], summary: object, finished: datetime) -> None:
        """Use Ansible's own recap, which knows which failures were rescued."""
        self.recap = {host: dict(numbers) for host, numbers in sorted(recap.items())}
        self.summary = summary if isinstance(summary, Mapping) else {}
        self.finished = finished
        # A play may set check_mode by itself.
        self.check = self.check or (not self.changes and any(line.changes for line in self.planned))
        sound = {host for host, numbers in recap.items() if not numbers["failures"] and not numbers["unreachable"]}
        self.failures = [
            replace(failure, rescued=True) if failure.counts and failure.host.split(" ")[0] in sound else failure
            for failure in self.failures
        ]

    @property
    def failed(self) -> bool:
        return any(numbers["failures"] or numbers["unreachable"] for numbers in self.recap.values())

    @property
    def status(self) -> str:
        return "running" if self.finished is None else "failed" if self.failed else "ok"

    @property
    def seconds(self) -> float:
        return round((self.finished - self.started).total_seconds(), 1) if self.finished else 0.0

    @property
    def counts(self) -> dict[str, int]:
        """What was done, or in check mode what would be."""
        return count(self.lines, "planned" if self.check else "done")

    @property
    def changes(self) -> list[Line]:
        """What was really changed; in check mode only tasks that set ``check_mode: false`` can."""
        return [line for line in self.lines if line.changes and line.status == "done"]

    @property
    def planned(self) -> list[Line]:
        return [line for line in self.lines if line.status == "planned" or line.action == "refuse"]

    @property
    def slowest(self) -> list[tuple[float, str, str]]:
        return sorted((step for step in self.steps if step[0] >= 1), reverse=True)[:_SLOWEST]

    def as_dict(self) -> dict[str, Any]:
        names = ("project", "environment", "region", "account")
        return {
            "version": VERSION,
            "status": self.status,
            "check": self.check,
            "playbook": self.playbook,
            **{name: self.summary.get(name) for name in names},
            "counts": self.counts,
            "plan": [line.as_dict() for line in self.lines],
            "failed": [failure.as_dict() for failure in self.failures],
            "summary": dict(self.summary),
            "recap": self.recap,
            "components": {
                name: {"seconds": seconds, "steps": self.times.steps[name]}
                for name, seconds in self.times.seconds.items()
            },
            "slowest": [{"seconds": round(s, 1), "host": host, "task": task} for s, host, task in self.slowest],
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": self.seconds,
            "ansible_version": self.ansible_version,
        }

    def write(self, path: Path) -> None:
        """Replace the file in one go, so that no reader ever sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.as_dict(), file, indent=2, ensure_ascii=False, default=str)
                file.write("\n")
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
