# SPDX-License-Identifier: GPL-3.0-or-later
"""The server with its store left out, to see what persistence costs: without_store.py run SETTINGS."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from alpaca_websocket import __main__, pipeline
from alpaca_websocket.protocol import Messages
from alpaca_websocket.store import RecoveryReport


class Nothing:
    """Takes everything, and keeps the count only."""

    def __init__(self) -> None:
        self.sequence = 0
        self.recovery = RecoveryReport(at="", clean=True, next_sequence=1)
        self._tell: Callable[[int], None] = lambda sequence: None

    @classmethod
    def open(cls, _settings: Any) -> Nothing:
        return cls()

    def append(self, messages: Messages, _received_ns: int) -> int:
        self.sequence += len(messages)
        self._tell(self.sequence)
        return self.sequence

    def on_durable(self, tell: Callable[[int], None]) -> None:
        self._tell = tell

    def replay(self, *_what: Any, **_since: Any) -> Iterator[Any]:
        return iter(())

    @property
    def durable(self) -> int:
        return self.sequence

    def flush(self) -> bool:
        return True

    def pruned_ns(self) -> int:
        return 0

    def stats(self) -> dict[str, int]:
        return {"sequence": self.sequence}

    def close(self) -> None:
        pass


if __name__ == "__main__":
    vars(pipeline)["Store"] = Nothing
    sys.exit(__main__.main(sys.argv[1:]))
