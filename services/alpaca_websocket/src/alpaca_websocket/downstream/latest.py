# SPDX-License-Identifier: GPL-3.0-or-later
"""The last message of every kind and symbol, for clients that ask for it when they subscribe."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..protocol import Message, Messages, Pair, moment_ns

# What tells where a symbol stands: last trade, quote and bar, trading status and price band.
KINDS_SHOWN = ("t", "q", "b", "s", "l")
_MOST = 100_000  # of kind and symbol; of more, those go first that were last heard of the longest ago


class Latest:
    """In two generations, so that forgetting costs nothing for each message."""

    def __init__(self, most: int = _MOST) -> None:
        self._half = most // 2
        self._young: dict[Pair, bytes] = {}
        self._old: dict[Pair, bytes] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def add(self, messages: Messages) -> None:
        """On the hot path: what has just come."""
        self._young.update(zip(messages.pairs, messages.raws, strict=True))
        if len(self._young) > self._half:
            self._old, self._young = self._young, {}

    def fill(self, messages: Messages) -> None:
        """What was fetched later: it counts where nothing newer is known."""
        for pair, raw in zip(messages.pairs, messages.raws, strict=True):
            known = self._get(pair)
            if known is None or moment_ns(known) < moment_ns(raw):
                self._young[pair] = raw

    def of(self, symbols: Collection[str], kinds: Collection[str]) -> Iterator[Message]:
        """What is known of these symbols, symbol by symbol."""
        for symbol in symbols:
            for kind in KINDS_SHOWN:
                if kind in kinds and (raw := self._get((kind, symbol))) is not None:
                    yield Message(kind, symbol, raw)

    def _get(self, pair: Pair) -> bytes | None:
        return self._young.get(pair) or self._old.get(pair)
