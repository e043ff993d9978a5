# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that can be made to go wrong, armed over the control port."""

from __future__ import annotations

import random
import time
from collections import defaultdict

from .market import Item

ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    412: "option messages are only available in MsgPack format",
    500: "internal error",
}
# Frames that are no Alpaca messages, from merely odd to hostile.
MALFORMED: dict[str, bytes] = {
    "empty": b"",
    "not json": b"\x00\xffhello",
    "truncated": b'[{"T":"t","S":"AAPL","p":1',
    "object": b'{"T":"t","S":"AAPL"}',
    "scalars": b'[1,null,"x",[],true]',
    "no type": b'[{"S":"AAPL","p":1}]',
    "no symbol": b'[{"T":"t","p":1}]',
    "wrong types": b'[{"T":5,"S":{},"t":[]},{"T":"t","S":null}]',
    "unknown type": b'[{"T":"zz","S":"AAPL"}]',
    "bad utf8": b'[{"T":"t","S":"\xc3\x28"}]',
    "surrogate": b'[{"T":"t","S":"\\ud800"}]',
    "deep": b"[" * 20_000,
    "long symbol": b'[{"T":"t","S":"' + b"A" * 100_000 + b'"}]',
    "path": b'[{"T":"t","S":"../../../../tmp/x","p":1,"t":"2024-01-02T15:00:00Z"}]',
    "huge number": b'[{"T":"t","S":"AAPL","p":1e999,"i":' + b"9" * 400 + b',"t":"2024-01-02T15:00:00Z"}]',
    "bad time": b'[{"T":"t","S":"AAPL","p":1,"t":"yesterday"},{"T":"t","S":"AAPL","t":{}}]',
    "empty array": b"[]",
    "odd error": b'[{"T":"error"}]',
}


class Faults:
    def __init__(self, seed: int = 1) -> None:
        self.closing = {402, 404, 406, 409}
        self.duplicates = 0  # frames still to be sent twice
        self.reorders = 0  # frames whose messages are still to be shuffled
        self._random = random.Random(seed)
        self._errors: dict[str, list[int]] = defaultdict(list)  # moment → codes to come
        self._silent_until = 0.0
        self._refused_until = 0.0
        self._refuse_with = 0
        self._refuse_times = 0
        self.latency = 0.0  # seconds until a request is read
        self.rest: list[int] = []  # statuses that the next REST requests get

    def arm_error(self, moment: str, code: int, times: int) -> None:
        self._errors[moment] += [code] * times

    def error_at(self, moment: str) -> int | None:
        return self._errors[moment].pop(0) if self._errors[moment] else None

    def refuse(self, status: int, times: int, seconds: float) -> None:
        """Answer the next `times` upgrades, and all within `seconds`, with an HTTP status."""
        self._refuse_with, self._refuse_times = status, times
        self._refused_until = time.monotonic() + seconds

    def refusal(self) -> int:
        if self._refuse_times > 0:
            self._refuse_times -= 1
            return self._refuse_with
        return self._refuse_with if time.monotonic() < self._refused_until else 0

    def silence(self, seconds: float) -> None:
        """No data; pings are answered."""
        self._silent_until = time.monotonic() + seconds

    @property
    def quiet(self) -> bool:
        return time.monotonic() < self._silent_until

    def arranged(self, items: list[Item]) -> list[Item]:
        """In order, or not."""
        if self.reorders > 0 and len(items) > 1:
            self.reorders -= 1
            self._random.shuffle(items)
        return items

    def frames(self, items: list[Item]) -> list[list[Item]]:
        """One frame, or the same twice."""
        if self.duplicates > 0:
            self.duplicates -= 1
            return [items, items]
        return [items]

    def clear(self) -> None:
        # Only __init__ knows what no fault is. mypy warns of subclasses whose own takes more; there are none.
        self.__init__()  # type: ignore[misc]
