# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan: lines that say what happens to each model and instance, and why."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from .desired import Server
from .errors import GuardError
from .settings import FleetSettings

CREATE = "create"
ADOPT = "adopt"
START = "start"
STOP = "stop"
RESTART = "restart"
RECONFIGURE = "reconfigure"
REPLACE = "replace"
TERMINATE = "terminate"
HOLD = "hold"
LEAVE = "no-op"
# Also the order in which a plan is shown.
ACTIONS = (TERMINATE, REPLACE, RESTART, RECONFIGURE, STOP, START, ADOPT, CREATE, HOLD, LEAVE)
CHANGING = frozenset(ACTIONS) - {HOLD, LEAVE}


@dataclass(frozen=True)
class Line:
    """One decision with its reason."""

    action: str
    model: str
    instance_id: str
    reason: str
    # Why the instance goes: "removed" counts against max_terminate_share, duplicates and strays do not.
    cause: str = ""
    # What the held action would have been.
    held: str = ""
    # The unclaimed instance that takes the place of a replaced one.
    successor: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    server: Server | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, str]:
        return {
            "action": self.action,
            "model": self.model,
            "instance_id": self.instance_id,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        on = f" {self.instance_id}" if self.instance_id else ""
        return f"{self.action} {self.model or '(unclaimed)'}{on}: {self.reason}"


@dataclass(frozen=True)
class Plan:
    lines: tuple[Line, ...]
    # Claimed instances of the whole environment, selected or not: what max_terminate_share is a share of.
    fleet_size: int = 0

    @property
    def changed(self) -> bool:
        return any(line.action in CHANGING for line in self.lines)

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(line.action for line in self.lines)
        return {action: found[action] for action in ACTIONS}

    def of(self, *actions: str) -> list[Line]:
        return [line for line in self.lines if line.action in actions]

    @property
    def removals(self) -> list[Line]:
        return [line for line in self.lines if line.cause == "removed" and line.action == TERMINATE]

    def check_guard(self, settings: FleetSettings) -> None:
        """Refuse to end more of the fleet than the operator allows at once."""
        gone = self.removals
        if settings.state == "absent" or not gone:
            return
        allowed = math.floor(self.fleet_size * settings.max_terminate_share + 1e-9)
        if len(gone) > allowed:
            share = math.ceil(len(gone) / self.fleet_size * 1000) / 1000
            names = ", ".join(line.model for line in gone)
            raise GuardError(
                f"Refused: {len(gone)} of {self.fleet_size} servers would be terminated, because their models are no "
                f"longer listed; max_terminate_share={settings.max_terminate_share:g} allows {allowed}. Nothing was "
                f"changed. If the bucket, prefix and pattern are right and these models are really to go, set "
                f"max_terminate_share to {min(share, 1.0):g} for this run. They are: {names}."
            )
