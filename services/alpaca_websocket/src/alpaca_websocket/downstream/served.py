# SPDX-License-Identifier: GPL-3.0-or-later
"""One feed, as the parts that serve clients share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..endpoints import Endpoint
from ..observe.state import State
from .latest import Latest
from .replay import History
from .router import Router


class Served(NamedTuple):
    """One feed, as clients see it.

    `head`: the sequence number of the last message received. `history`: where replays come from, once the store is
    open; without one they are answered 410.
    """

    name: str
    endpoint: Endpoint
    state: State
    router: Router
    head: Callable[[], int]
    history: Callable[[], History | None] | None
    latest: Latest

    def mark(self) -> int:
        """Sends off what is queued, and returns the sequence number of the last message received."""
        self.router.flush()
        return self.head()
