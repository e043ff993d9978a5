# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan: lines that say what happens to each model and instance, and why."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace

from .claims import CLAIM_DIGEST
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
# What brings a server up, or up again: held while trading is halted.
STARTING = frozenset({CREATE, ADOPT, START, RESTART, REPLACE})
CHANGING = frozenset(ACTIONS) - {HOLD, LEAVE}
# Tags by which the next run knows that something was done. They are written after it.
_PROOFS = frozenset({CLAIM_DIGEST, "ConfigDigest"})


@dataclass(frozen=True)
class Line:
    """One decision with its reason."""

    action: str
    model: str
    instance_id: str
    reason: str
    # Why the instance is terminated. "removed" and "duplicate" count against max_terminate_share, others do not.
    cause: str = ""
    # Set where an operator must act: the run fails with this message, whatever else it has done.
    alarm: str = ""
    # What the held action would have been.
    held: str = ""
    # The unclaimed instance that takes the place of a replaced one.
    successor: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    server: Server | None = field(default=None, compare=False, repr=False)

    def under(self, halt: str) -> Line:
        """The line as it is while trading is halted for this reason."""
        if not halt or self.action not in STARTING:
            return self
        text = f"{self.action} is held: {halt} ({self.reason})"
        return replace(self, action=HOLD, held=self.action, reason=text, tags=(), attributes=())

    def announced(self, **more: str) -> Line:
        """The line with the tags that are written before it is carried out."""
        return replace(self, tags=(*(tag for tag in self.tags if tag[0] not in _PROOFS), *more.items()))

    def proved(self, **more: str) -> Line:
        """The line with the tags that are written after it was carried out."""
        return replace(self, tags=(*(tag for tag in self.tags if tag[0] in _PROOFS), *more.items()))

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.action, self.model, self.instance_id)

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
        return [line for line in self.lines if line.cause in ("removed", "duplicate") and line.action == TERMINATE]

    @property
    def alarms(self) -> list[str]:
        """Warnings for the operator, each once."""
        return list(dict.fromkeys(line.alarm for line in self.lines if line.alarm))

    def only(self, *actions: str) -> Plan:
        """The same plan without the lines of other actions."""
        return Plan(tuple(self.of(*actions)), self.fleet_size)

    def check_guard(self, settings: FleetSettings) -> None:
        """Refuse to terminate more of the fleet at once than the operator allows."""
        gone = self.removals
        if settings.state == "absent" or not gone:
            return
        allowed = math.floor(self.fleet_size * settings.max_terminate_share + 1e-9)
        if len(gone) > allowed:
            share = math.ceil(len(gone) / self.fleet_size * 1000) / 1000
            names = ", ".join(line.model for line in gone)
            second = sum(line.cause == "duplicate" for line in gone)
            why = [f"the models of {len(gone) - second} are no longer listed"] if len(gone) > second else []
            why += [f"{second} are second servers of their model"] if second else []
            raise GuardError(
                f"Refused: {len(gone)} of {self.fleet_size} servers would be terminated, because {' and '.join(why)}; "
                f"max_terminate_share={settings.max_terminate_share:g} allows {allowed}. Nothing was terminated, "
                f"launched or replaced. If bucket, prefix, pattern and tags are right and these servers should "
                f"go, allow it once: -e aws_trading_server_once_max_terminate_share={min(share, 1.0):g} with the "
                f"playbook, once.max_terminate_share with the module. They are: {names}."
            )
