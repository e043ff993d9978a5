# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a feed is not in the store: kept with the position, so that who asks for the past is told what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from ..protocol import rfc3339

_KEPT = 200
_TOGETHER_NS = 60 * 10**9
_OVERLAP_NS = 2 * 10**9  # who asks begins this much before the last message that it has, for clocks differ
EVERY_CHANNEL = "*"


class Loss(msgspec.Struct, kw_only=True):
    """Times are of receipt, ns since 1970."""

    channel: str
    began_ns: int
    ended_ns: int
    why: str


class Losses:
    def __init__(self) -> None:
        self.items: list[Loss] = []
        self.known_ns = 0  # what came before is not kept, or nobody knows what is missing of it

    def restore(self, items: Iterable[Loss], known_ns: int) -> None:
        """What an earlier process wrote down."""
        self.items, self.known_ns = list(items), known_ns

    def add(self, channel: str, began_ns: int, ended_ns: int, why: str) -> None:
        """What follows soon, for the same reason, is one loss."""
        for loss in reversed(self.items):
            if (loss.channel, loss.why) == (channel, why) and began_ns - loss.ended_ns < _TOGETHER_NS:
                loss.began_ns, loss.ended_ns = min(loss.began_ns, began_ns), max(loss.ended_ns, ended_ns)
                return
        self.items.append(Loss(channel=channel, began_ns=began_ns, ended_ns=ended_ns, why=why))
        while len(self.items) > _KEPT:
            self.forget_before(self.items[0].ended_ns)

    def forget_before(self, time_ns: int) -> None:
        """What came before this is not kept."""
        self.known_ns = max(self.known_ns, time_ns)
        self.items = [loss for loss in self.items if loss.ended_ns > self.known_ns]

    def since(self, time_ns: int, channels: Collection[str]) -> dict[str, str]:
        """Channel → why not all that came since then is stored; 0: of what is kept."""
        found: dict[str, list[str]] = {name: [] for name in channels}
        for loss in self.items:
            if loss.ended_ns < time_ns:
                continue
            for name in channels:
                if loss.channel in (name, EVERY_CHANNEL) and loss.why not in found[name]:
                    found[name].append(loss.why)
        if 0 < time_ns < self.known_ns - _OVERLAP_NS:
            for whys in found.values():
                whys.append(f"not kept: what came before {rfc3339(self.known_ns)}")
        return {name: "; ".join(whys) for name, whys in found.items() if whys}
