"""Calls that never come back: a test holds them, kills the caller, and sees what the next run makes of it."""

from __future__ import annotations

import json
import threading
from typing import Any

from .recording import Answer, Request


class Interruptions:
    """A handler that keeps the calls of chosen operations waiting, until they are released unanswered and undone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._operations: frozenset[str] = frozenset()
        self._waiting: list[str] = []

    def __call__(self, request: Request) -> Answer | None:
        name = f"{request.service}:{request.operation}"
        with self._changed:
            if name not in self._operations:
                return None
            self._waiting.append(name)
            self._changed.wait_for(lambda: name not in self._operations)
            self._waiting.remove(name)
        return Answer("503 Service Unavailable", {"Content-Type": "text/plain"}, b"released, not carried out")

    def control(self, method: str, body: bytes) -> Any:
        """GET lists the calls that wait; PUT names the ``operations`` to hold; DELETE releases all."""
        with self._changed:
            if method == "PUT":
                self._operations = frozenset(json.loads(body)["operations"])
                self._changed.notify_all()
            elif method == "DELETE":
                self._operations = frozenset()
                self._changed.notify_all()
            return {"operations": sorted(self._operations), "waiting": sorted(self._waiting)}
