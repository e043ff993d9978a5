# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long each component took, while several ran side by side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Span:
    first: float
    last: float


class Times:
    """For each component, the time from its first task to its last, added up over the plays of a run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spans: dict[tuple[str, str], _Span] = {}
        self.steps: Counter[str] = Counter()

    def start(self, play: str, component: str) -> None:
        """A task begins."""
        now = self._clock()
        self._spans.setdefault((play, component), _Span(now, now))
        self.steps[component] += 1

    def end(self, play: str, component: str) -> None:
        """A task ended, however."""
        if span := self._spans.get((play, component)):
            span.last = self._clock()

    def of(self, play: str) -> dict[str, float]:
        """Each component of a play, the slowest first."""
        found = {component: span.last - span.first for (of, component), span in self._spans.items() if of == play}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def seconds(self) -> dict[str, float]:
        """The slowest first."""
        total: Counter[str] = Counter()
        for (_play, component), span in self._spans.items():
            total[component] += span.last - span.first  # type: ignore[assignment]  # adds floats as well
        return {component: round(seconds, 1) for component, seconds in total.most_common()}
