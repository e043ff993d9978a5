# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress lines, so that a slow step does not look like a hung one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_NAMED = 3


def duration(seconds: float) -> str:
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


@dataclass
class _Step:
    label: str
    since: float
    said: float | None = None
    note: str = ""
    hosts: dict[str, float] = field(default_factory=dict)


class Progress:
    """Knows what runs on which host since when. A thread of its own says so once a step takes long.

    Whole lines only, on a terminal as in a log: several steps run at a time, and Ansible writes warnings in between.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        after: float = 10,
        every: float = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._after, self._every, self._clock = say, after, every, clock
        self._steps: dict[str, _Step] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, step: str, label: str, host: str) -> None:
        """A step begins on a host."""
        now = self._clock()
        with self._lock:
            self._steps.setdefault(step, _Step(label, now)).hosts[host] = now
        if self._thread is None and self._after > 0:
            self._thread = threading.Thread(target=self._watch, name="algo-plan-progress", daemon=True)
            self._thread.start()

    def note(self, step: str, note: str) -> None:
        """Something to say about a running step, such as the number of tries."""
        with self._lock:
            if step in self._steps:
                self._steps[step].note = note

    def end(self, step: str, host: str) -> float | None:
        """A step ended on a host; the seconds it took, None if its start was not seen."""
        with self._lock:
            running = self._steps.get(step)
            began = running.hosts.pop(host, None) if running else None
            if running and not running.hosts:
                del self._steps[step]
        return None if began is None else self._clock() - began

    def stop(self) -> None:
        """Stop. Waits for a line being written."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def due(self) -> list[str]:
        """What there is to say now."""
        now = self._clock()
        texts = []
        with self._lock:
            for step in self._steps.values():
                if now - step.since < self._after or (step.said is not None and now - step.said < self._every):
                    continue
                step.said = now
                hosts = sorted(step.hosts)
                where = ", ".join(hosts) if len(hosts) <= _NAMED else f"{len(hosts)} hosts"
                note = f", {step.note}" if step.note else ""
                texts.append(f"… {where}: {step.label} ({duration(now - step.since)}{note})")
        return texts

    def _watch(self) -> None:
        while not self._stopped.wait(1):
            for text in self.due():
                self._say(text)
