# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done when the upstream says no, or nothing: decisions only."""

from __future__ import annotations

import enum
import random
from collections.abc import Callable
from typing import NamedTuple


class Act(enum.Enum):
    """What follows from an error."""

    CARRY_ON = "carry on"  # the connection is as good as before
    RECONNECT = "reconnect"  # at once the first time, then with back-off
    BACK_OFF = "back off"  # the other side is overloaded or broken: never at once
    WAIT = "wait"  # for a connection of ours that the other side believes alive
    HALT = "halt"  # only a person can mend it


class Decision(NamedTuple):
    act: Act
    reason: str


def on_error(code: int, text: str) -> Decision:
    """An error message of the protocol that answers no subscription."""
    what = f"{code} {text}".strip()
    match code:
        case 402:
            return Decision(Act.HALT, f"{what}: the keys are refused; set valid keys, then reload")
        case 409:
            return Decision(Act.HALT, f"{what}: the account's plan does not cover this feed")
        case 406:
            return Decision(Act.WAIT, f"{what}: another connection of this account is still open")
        case 401 | 404:
            return Decision(Act.RECONNECT, what)
        case 403 | 405 | 407 | 400 | 410 | 413:
            # 403: we are in. 405, 400, 410, 413: that request alone is refused. 407: we read too slowly; it may cut us.
            return Decision(Act.CARRY_ON, what)
        case _:
            return Decision(Act.BACK_OFF, what)


def on_handshake(status: int, text: str) -> Decision:
    """The upgrade was answered by another HTTP status than 101."""
    if status in (401, 403):
        return Decision(Act.HALT, f"HTTP {status} {text}: the keys are refused; set valid keys, then reload")
    return Decision(Act.BACK_OFF, f"HTTP {status} {text}".strip())


class Backoff:
    """Pauses that double up to a longest one, each anywhere between its half and its whole, so that many who lost the
    same server do not come back in step."""

    def __init__(self, first: float, longest: float, chance: Callable[[], float] = random.random) -> None:
        self._first, self._longest, self._chance = first, longest, chance
        self.failures = 0

    def reset(self) -> None:
        """The connection has proved stable."""
        self.failures = 0

    def after(self, act: Act) -> float:
        """Seconds to wait before the next attempt."""
        self.failures += 1
        if act is Act.RECONNECT and self.failures == 1:
            # A pause all the same: whatever cut us may have cut everybody.
            return self._first * self._chance()
        whole = min(self._longest, self._first * 2.0 ** min(self.failures, 30))
        return whole * (0.5 + 0.5 * self._chance())

    def jittered(self, seconds: float) -> float:
        """At least that long, and up to a tenth longer."""
        return seconds * (1 + 0.1 * self._chance())
