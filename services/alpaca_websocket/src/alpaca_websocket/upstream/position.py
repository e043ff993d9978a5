# SPDX-License-Identifier: GPL-3.0-or-later
"""Up to where a feed is safe, and what it was subscribed to: what the next process needs to go on without a hole.

It lies in the store's directory, for the next start on this host, and in the lease, for another host that takes over.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from ..observe.losses import Loss


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """All times are of receipt, ns since 1970."""

    at_ns: int
    last: dict[str, int]
    """Channel → its last message that is durable, or since when it is subscribed."""
    since: dict[str, int] = {}
    """Channel → since when all its symbols are subscribed."""
    unfilled: dict[str, int] = {}
    """Channel → since when something is missing that was still to be fetched."""
    subscriptions: dict[str, list[str]] = {}
    symbols: list[str] = []
    """What `*` stands for: those that were seen."""
    host: str = ""
    losses: list[Loss] = []
    known_ns: int = 0
    """What is not in the store of this host, and since when that is known; 0: it is not."""

    @property
    def earliest_ns(self) -> int:
        return min((*self.last.values(), *self.unfilled.values()), default=self.at_ns)


def later(own: Position | None, inherited: Position | None) -> Position | None:
    """Whoever was there last knows what is missing."""
    found = [position for position in (own, inherited) if position is not None]
    return max(found, key=lambda position: position.at_ns, default=None)


def _path(directory: str) -> Path:
    return Path(directory, "position.json")


def read(directory: str) -> Position | None:
    """None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode(_path(directory).read_bytes(), type=Position)
    except (OSError, msgspec.MsgspecError):
        return None


def write(directory: str, position: Position) -> None:
    """At once, for who is killed; not synced, so that no commit of the journal waits for it. A full disk keeps the old
    one, which is only earlier."""
    draft = _path(directory).with_suffix(".draft")
    with contextlib.suppress(OSError):
        draft.write_bytes(msgspec.json.encode(position))
        draft.replace(_path(directory))
