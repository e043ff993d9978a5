# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a symbol trades, and within which LULD band: the last that was told, or that a gap has made it unknown.

Alpaca's API has no past of statuses and LULDs. A halt, or the end of one, may lie in a gap; so after it the state of
each symbol that was subscribed is unknown until the next message about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..protocol import CHANNELS, Message, Messages, Pair, rfc3339

KINDS = ("s", "l")
_UNKNOWN = b'"unknown":true'
_EMPTY = {"s": {"sc": "", "sm": "unknown after a gap", "rc": "", "rm": ""}, "l": {"i": ""}}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TradingStates:
    """Of all symbols of one feed."""

    def __init__(self) -> None:
        self._last: dict[Pair, bytes] = {}
        self._unknown: dict[Pair, int] = {}  # since when
        self._told: set[Pair] = set()

    def take(self, messages: Messages) -> None:
        """On the hot path: what came, also what a server like this one says of its own gap."""
        if "s" not in messages.kinds and "l" not in messages.kinds:
            return
        for message in messages:
            if message.kind in KINDS:
                pair = message.kind, message.symbol
                if _UNKNOWN in message.raw:
                    self._unknown.setdefault(pair, 0)
                    self._told.add(pair)
                else:
                    self._last[pair] = message.raw
                    self._unknown.pop(pair, None)
                    self._told.discard(pair)

    def lose(self, kind: str, symbols: Iterable[str], since_ns: int) -> None:
        """What may change now is not seen. `*` stands for every symbol of which something was told."""
        names = set(symbols)
        if "*" in names:
            names |= {symbol for of, symbol in self._last if of == kind}
        for name in names - {"*"}:
            self._unknown.setdefault((kind, name), since_ns)

    def find(self, kind: str, since_ns: int) -> None:
        """All that was told since then has come after all."""
        for pair in [pair for pair, since in self._unknown.items() if pair[0] == kind and since >= since_ns]:
            del self._unknown[pair]
            self._told.discard(pair)

    def untold(self, kind: str, now_ns: int) -> list[Message]:
        """Says once of each symbol that its state is unknown, in the form that its clients read."""
        found = [pair for pair in self._unknown if pair[0] == kind and pair not in self._told]
        self._told.update(found)
        told = (
            (symbol, {"T": kind, "S": symbol, **_EMPTY[kind], "t": rfc3339(now_ns), "z": ""}) for _, symbol in found
        )
        return [Message(kind, symbol, _encode({**item, "unknown": True})) for symbol, item in told]

    def of(self, symbol: str) -> dict[str, Any]:
        """Channel → {"known": …, "last": the last message, or None}."""
        return {
            CHANNELS[kind]: {
                "known": (kind, symbol) in self._last and (kind, symbol) not in self._unknown,
                "last": _decode(raw) if (raw := self._last.get((kind, symbol))) else None,
            }
            for kind in KINDS
        }

    def unknown(self, kind: str) -> list[str]:
        """Symbols of which something was told or wanted before a gap, and nothing since."""
        return sorted(symbol for of, symbol in self._unknown if of == kind)
