# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of the upstream, what it has confirmed, and what it has refused. No input or output of its own.

One request is under way at a time, because an error does not say which request it answers. What is new is subscribed
before what is not wanted any more is given back, so that a symbol that both cover never falls between them. Only where
the symbol limit (405) forbids that, the second comes first; `uncovered` tells what was lost by it. A request that meets
the limit all the same is halved until the limit is found: so all that fits is subscribed, and what does not has a name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..protocol import FOLLOWS_TRADES, KINDS

_LARGEST = 1000  # symbols in a request

Channels = dict[str, set[str]]


class Ask(NamedTuple):
    """One request: symbols of one channel, or at first of several."""

    action: str
    channels: Mapping[str, tuple[str, ...]]

    def message(self) -> dict[str, Any]:
        return {"action": self.action, **{name: list(symbols) for name, symbols in self.channels.items()}}

    @property
    def size(self) -> int:
        return sum(map(len, self.channels.values()))


def uncovered(before: Channels, after: Channels, wanted: Channels) -> Channels:
    """What is still wanted, was subscribed before, by its name or by `*`, and is not after."""
    found: Channels = {}
    for name, wants in wanted.items():
        had, has = before.get(name, set()), after.get(name, set())
        if "*" not in has:
            still = wants if "*" in had else had if "*" in wants else had & wants
            found[name] = still - has
    return {name: symbols for name, symbols in found.items() if symbols}


class Subscriptions:
    def __init__(self) -> None:
        self.wanted: Channels = {}
        self.confirmed: Channels = {}
        self.refused: Channels = {}
        self._unlisted: Channels = {}  # asked for beside `*`, and answered with `*` alone
        self._kept: Channels = {}  # given back, and listed all the same
        self._queue: deque[Ask] = deque()
        self._under_way: Ask | None = None

    def begin(self) -> None:
        """A new connection: nothing is subscribed there."""
        self.confirmed, self.refused, self._unlisted, self._kept = {}, {}, {}, {}
        self._queue.clear()
        self._under_way = None

    def want(self, wanted: Mapping[str, Iterable[str]]) -> None:
        """Replaces the union; `next` then has the requests that lead there."""
        self.wanted = {name: set(symbols) for name, symbols in wanted.items() if symbols}
        self.refused = _without_empty(
            {name: symbols & self.wanted.get(name, set()) for name, symbols in self.refused.items()}
        )
        self._kept = {}

    @property
    def waits(self) -> Ask | None:
        """The request that has not been answered yet."""
        return self._under_way

    @property
    def settled(self) -> bool:
        """Whether all that is wanted is confirmed or refused."""
        return not self._queue and self._under_way is None and not self._missing()

    def next(self) -> Ask | None:
        """The next request to send, if none is under way."""
        if self._under_way is not None:
            return None
        if not self._queue:
            self._plan()
        self._under_way = self._queue.popleft() if self._queue else None
        return self._under_way

    def answered(self, reply: Mapping[str, Any]) -> None:
        """The upstream told the whole of the subscription."""
        before = sum(map(len, self.confirmed.values()))
        listed = {name: reply.get(name) for name in KINDS if name not in FOLLOWS_TRADES}
        self.confirmed = {name: set(symbols) for name, symbols in listed.items() if symbols}
        done, self._under_way = self._under_way, None
        if done and done.action == "unsubscribe":
            self._unlisted = {}
            for name, symbols in done.channels.items():
                self._kept.setdefault(name, set()).update(self.confirmed.get(name, set()).intersection(symbols))
            if sum(map(len, self.confirmed.values())) < before:
                self.refused = {}  # there is room again
        elif done:
            for name, symbols in done.channels.items():
                has = self.confirmed.get(name, set())
                if unlisted := set(symbols) - has:
                    (self._unlisted if "*" in has else self.refused).setdefault(name, set()).update(unlisted)

    def limited(self) -> None:
        """405: the request under way is too large."""
        ask, self._under_way = self._under_way, None
        if ask is None or ask.action != "subscribe":
            return
        if extra := self._extra():
            # There may be room without what is not wanted any more; then all that is missing is asked for again.
            self._queue = deque(_asks("unsubscribe", extra))
            return
        if len(ask.channels) > 1:
            parts = [Ask("subscribe", {name: symbols}) for name, symbols in ask.channels.items()]
        elif ask.size > 1:
            ((name, symbols),) = ask.channels.items()
            half = len(symbols) // 2
            parts = [Ask("subscribe", {name: symbols[:half]}), Ask("subscribe", {name: symbols[half:]})]
        else:
            # Not even one more: nor those of the same channel that wait behind it.
            ((name, symbols),) = ask.channels.items()
            behind = [other for other in self._queue if set(other.channels) == {name}]
            self._queue = deque(other for other in self._queue if other not in behind)
            refused = {*symbols, *(symbol for other in behind for symbol in other.channels[name])}
            self.refused.setdefault(name, set()).update(refused)
            return
        self._queue.extendleft(reversed(parts))

    def rejected(self) -> Ask | None:
        """Another error: the request under way is given up. Returns it."""
        ask, self._under_way = self._under_way, None
        if ask is not None and ask.action == "subscribe":
            for name, symbols in ask.channels.items():
                self.refused.setdefault(name, set()).update(symbols)
        return ask

    def _missing(self) -> Channels:
        found: Channels = {}
        for name, wants in self.wanted.items():
            confirmed, refused = self.confirmed.get(name, set()), self.refused.get(name, set())
            if "*" in wants and "*" not in refused:
                found[name] = {"*"} - confirmed  # all of them, so none in particular
            else:
                found[name] = wants - confirmed - refused - self._unlisted.get(name, set())
        return _without_empty(found)

    def _extra(self) -> Channels:
        return _without_empty(
            {
                name: symbols - self.wanted.get(name, set()) - self._kept.get(name, set())
                for name, symbols in self.confirmed.items()
            }
        )

    def _plan(self) -> None:
        missing = self._missing()
        self._queue.extend(_asks("subscribe", missing) if missing else _asks("unsubscribe", self._extra()))


def _without_empty(channels: Channels) -> Channels:
    return {name: symbols for name, symbols in channels.items() if symbols}


def _asks(action: str, channels: Channels) -> Iterator[Ask]:
    """Requests of a moderate size."""
    small: dict[str, tuple[str, ...]] = {}
    for name in sorted(channels):
        symbols = sorted(channels[name])
        for start in range(0, len(symbols), _LARGEST):
            part = tuple(symbols[start : start + _LARGEST])
            if sum(map(len, small.values())) + len(part) > _LARGEST or name in small:
                yield Ask(action, small)
                small = {}
            small[name] = part
    if small:
        yield Ask(action, small)


class Lingering:
    """Keeps what was wanted until a moment ago: a client that comes back at once finds its subscription alive."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: dict[tuple[str, str], float] = {}

    def over(self, now: float) -> bool:
        """Whether something has been kept for long enough."""
        return any(deadline <= now for deadline in self._until.values())

    def add(self, wanted: Channels, before: Channels, now: float) -> Channels:
        """What is wanted, and what of `before` is still kept."""
        gone = [(name, symbol) for name, symbols in before.items() for symbol in symbols - wanted.get(name, set())]
        deadlines = {pair: self._until.get(pair, now + self._seconds) for pair in gone}
        self._until = {pair: deadline for pair, deadline in deadlines.items() if deadline > now}
        union = {name: set(symbols) for name, symbols in wanted.items()}
        for name, symbol in self._until:
            union.setdefault(name, set()).add(symbol)
        return union
