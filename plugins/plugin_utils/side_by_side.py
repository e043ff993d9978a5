# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out jobs side by side, each when those that it needs have ended.

One thread: a job is a generator that hands over calls, which run in processes of their own, and pauses. No thread is
near a fork, and a job that waits keeps nothing from the others.
"""

from __future__ import annotations

import heapq
import selectors
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Pause:
    """Wait that long, then go on."""

    seconds: float


class Process(Protocol):
    """A call that runs."""

    def fileno(self) -> int:
        """Becomes readable when the call has ended."""

    def finish(self) -> Any:
        """What the call answered."""


Steps = Generator[Any, Any, None]

# How often `waiting` is told that nothing has ended.
_TICK = 1.0


def carry_out(
    jobs: Mapping[str, Callable[[], Steps]],
    needs: Mapping[str, Collection[str]],
    start: Callable[[Any], Process],
    *,
    limit: int,
    waiting: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Carry out all jobs and return when the last one has ended.

    :param jobs: by key, in the order in which they begin where nothing else decides. A job deals with its own errors,
        and finds out for itself what became of those that it needed.
    :param needs: keys of the jobs that must have ended before one begins; keys that are no jobs are ended already.
    :param start: starts a call that a job hands over. Its answer becomes the value of the job's ``yield``.
    :param limit: how many calls run at a time.
    :param waiting: called about once a second while calls run.
    """
    left = {key: {need for need in needs.get(key, ()) if need in jobs} for key in jobs}
    begin = deque(key for key in jobs if not left[key])
    queue: deque[tuple[str, Steps, Any]] = deque()
    pauses: list[tuple[float, int, str, Steps]] = []
    count = 0
    ended = 0
    with selectors.DefaultSelector() as selector:

        def go_on(key: str, steps: Steps, answer: Any = None) -> None:
            nonlocal count, ended
            try:
                step = steps.send(answer)
            except StopIteration:
                ended += 1
                for other, missing in left.items():
                    if key in missing:
                        missing.discard(key)
                        if not missing:
                            begin.append(other)
                return
            if isinstance(step, Pause):
                count += 1
                heapq.heappush(pauses, (clock() + step.seconds, count, key, steps))
            else:
                queue.append((key, steps, step))

        while ended < len(jobs):
            while begin:
                key = begin.popleft()
                go_on(key, jobs[key]())
            while pauses and pauses[0][0] <= clock():
                _due, _count, key, steps = heapq.heappop(pauses)
                go_on(key, steps)
            while queue and len(selector.get_map()) < limit:
                key, steps, call = queue.popleft()
                process = start(call)
                selector.register(process.fileno(), selectors.EVENT_READ, (key, steps, process))
            if begin or ended == len(jobs):
                continue
            if not selector.get_map() and not pauses:
                raise RuntimeError(f"jobs that wait for each other: {', '.join(k for k in left if left[k])}")
            timeout = min(_TICK, max(0.0, pauses[0][0] - clock())) if pauses else _TICK
            events = selector.select(timeout)
            if not events:
                waiting()
            for event, _mask in events:
                selector.unregister(event.fd)
                key, steps, process = event.data
                go_on(key, steps, process.finish())
