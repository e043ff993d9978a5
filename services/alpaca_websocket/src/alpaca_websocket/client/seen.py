# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client has had already, so that a replay that begins a little earlier doubles nothing."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import msgspec

from ..protocol import Messages, Pair, time_ns

# What a server fetches after a crash of its own comes this much later at most, and may be what we had before the crash.
_LATE_NS = 3600 * 10**9
_BACKFILLED = b'"backfilled":true'
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder(order="sorted").encode

# A trade by symbol, exchange, number and time, a bar by symbol and minute; anything else by all that it says.
Identity = tuple[Any, ...]


def identity(pair: Pair, raw: bytes) -> Identity:
    """What makes a message the same one, also if it was fetched later and is written in another way."""
    kind, symbol = pair
    item = _decode(raw)
    item.pop("backfilled", None)
    try:
        item["t"] = time_ns(item["t"])
    except (KeyError, TypeError, ValueError):
        return kind, symbol, _encode(item)
    if kind == "t":
        return kind, symbol, str(item.get("x")), str(item.get("i")), item["t"]
    return (kind, symbol, item["t"]) if kind == "b" else (kind, symbol, _encode(item))


class Seen:
    """Remembers the last messages, as text only. What they are is worked out when a connection has been lost."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, Sequence[Pair], Sequence[bytes]]] = deque()
        self._again: Counter[Identity] = Counter()  # what the replay that runs may repeat
        self._known: dict[Identity, int] = {}  # what came before a loss → until when it may come as backfilled

    def fresh(self, messages: Messages, now_ns: int) -> Sequence[bytes]:
        """Those that had not come before; from now on they have."""
        pairs, raws = messages.pairs, messages.raws
        if self._again or (self._known and _BACKFILLED in messages.text):
            new = [each for each in zip(pairs, raws, strict=True) if not self._is_repeated(*each)]
            pairs, raws = [pair for pair, _raw in new], [raw for _pair, raw in new]
        self._recent.append((now_ns, pairs, raws))
        return raws

    def forget(self, before_ns: int) -> None:
        """Drops what came before then: no replay will begin so early."""
        while self._recent and self._recent[0][0] < before_ns:
            self._recent.popleft()

    def lost(self) -> None:
        """The connection is gone: what is remembered may come once more."""
        had = (each for _at, pairs, raws in self._recent for each in zip(pairs, raws, strict=True))
        self._again = Counter(identity(*each) for each in had)
        now = time.time_ns()
        self._known = {each: until for each, until in self._known.items() if until > now}
        self._known |= dict.fromkeys(self._again, now + _LATE_NS)

    def replayed(self) -> None:
        """The replay is over: what comes now is new, unless it is backfilled."""
        self._again.clear()

    def _is_repeated(self, pair: Pair, raw: bytes) -> bool:
        backfilled = _BACKFILLED in raw
        if not self._again and not backfilled:
            return False
        same = identity(pair, raw)
        if self._again[same] > 0:
            self._again[same] -= 1
            return True
        return backfilled and same in self._known
