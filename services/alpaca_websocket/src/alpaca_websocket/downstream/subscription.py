# SPDX-License-Identifier: GPL-3.0-or-later
"""What one client is subscribed to. A change costs as much as it changes."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from ..protocol import FOLLOWS_TRADES, KINDS, Pair

EVERYTHING = "*"
# So many symbols are sorted in or taken out one by one; for more the list is made anew.
_ONE_BY_ONE = 16


class Subscription:
    """Channels that come by themselves are not in it."""

    def __init__(self) -> None:
        self.channels: dict[str, set[str]] = {}
        self.live_from: dict[Pair, int] = {}
        """After which sequence number it gets what it asked for live."""
        self._ordered: dict[str, list[str]] = {}
        self._symbols: Counter[str] = Counter()  # in how many channels each is, `*` aside

    @property
    def size(self) -> int:
        """Distinct symbols."""
        return len(self._symbols)

    def missing(self, asked: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
        """What of it is new."""
        found = {name: set(symbols).difference(self.channels.get(name, ())) for name, symbols in asked.items()}
        return {name: symbols for name, symbols in found.items() if symbols}

    def growth(self, new: Mapping[str, Collection[str]]) -> int:
        """How many distinct symbols more it would then have."""
        more = {symbol for symbols in new.values() for symbol in symbols if symbol not in self._symbols}
        return len(more - {EVERYTHING})

    def add(self, new: Mapping[str, Collection[str]], head: int) -> list[Pair]:
        """Adds what `missing` has found; returns it as pairs."""
        added: list[Pair] = []
        for name, symbols in new.items():
            self.channels.setdefault(name, set()).update(symbols)
            self._symbols.update(symbol for symbol in symbols if symbol != EVERYTHING)
            added += [(KINDS[name], symbol) for symbol in symbols]
            ordered = self._ordered.setdefault(name, [])
            if len(symbols) <= _ONE_BY_ONE:
                for symbol in symbols:
                    bisect.insort(ordered, symbol)
            else:
                ordered += symbols
                ordered.sort()
        self.live_from.update(dict.fromkeys(added, head))
        return added

    def remove(self, asked: Mapping[str, Iterable[str]]) -> list[Pair]:
        """Takes these out, as far as they are in it; returns them as pairs."""
        removed: list[Pair] = []
        for name, symbols in asked.items():
            have = self.channels.get(name)
            # `*` is a subscription of its own: it takes nothing else with it.
            gone = have.intersection(symbols) if have else ()
            if not have or not gone:
                continue
            have -= set(gone)
            for symbol in gone:
                if symbol != EVERYTHING:
                    self._symbols[symbol] -= 1
                    if not self._symbols[symbol]:
                        del self._symbols[symbol]
            if have and len(gone) <= _ONE_BY_ONE:
                for symbol in gone:
                    del self._ordered[name][bisect.bisect_left(self._ordered[name], symbol)]
            elif have:
                self._ordered[name] = [symbol for symbol in self._ordered[name] if symbol not in gone]
            else:
                del self.channels[name], self._ordered[name]
            removed += [(KINDS[name], symbol) for symbol in gone]
        for pair in removed:
            del self.live_from[pair]
        return removed

    def listed(self, channels: Iterable[str]) -> dict[str, list[str]]:
        """As it is told: every channel, with what comes by itself."""
        return {name: self._ordered.get("trades" if name in FOLLOWS_TRADES else name, []) for name in channels}
