"""Calls that never come back, or late.

A test holds them, kills the caller, and sees what the next run makes of it. A benchmark lets each take as long as on
AWS, which needs 20 to 300 ms for most; this server answers within 5.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from .recording import Answer, Request

_LONGEST = 10.0  # seconds


class Interruptions:
    """A handler that keeps the calls of chosen operations waiting, until they are released unanswered and undone.

    All calls wait for the latency first, however many there are at once.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._operations: frozenset[str] = frozenset()
        self._waiting: list[str] = []
        self._latency = 0.0

    def __call__(self, request: Request) -> Answer | None:
        if self._latency:
            time.sleep(self._latency)
        name = f"{request.service}:{request.operation}"
        with self._changed:
            if name not in self._operations:
                return None
            self._waiting.append(name)
            self._changed.wait_for(lambda: name not in self._operations)
            self._waiting.remove(name)
        return Answer("503 Service Unavailable", {"Content-Type": "text/plain"}, b"released, not carried out")

    def control(self, method: str, body: bytes) -> Any:
        """GET shows the calls that wait and the latency; DELETE ends both.

        PUT names the ``operations`` to hold, or sets the ``latency`` in seconds.

        :raises ValueError: for a latency that no network has
        """
        with self._changed:
            if method == "PUT":
                given = json.loads(body)
                latency = float(given.get("latency", self._latency))
                if not 0 <= latency <= _LONGEST:
                    raise ValueError(f"latency is {latency}; it must be from 0 to {_LONGEST:g} seconds.")
                self._latency = latency
                self._operations = frozenset(given.get("operations", self._operations))
                self._changed.notify_all()
            elif method == "DELETE":
                self._operations, self._latency = frozenset(), 0.0
                self._changed.notify_all()
            return {
                "operations": sorted(self._operations),
                "waiting": sorted(self._waiting),
                "latency": self._latency,
            }
