# SPDX-License-Identifier: GPL-3.0-or-later
"""The last minutes and the last day of the state, sampled, for what shows rates over time."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field

from .histogram import Histogram
from .state import State

SECONDS_KEPT = 600
MINUTES_KEPT = 24 * 60
WINDOW = 60  # seconds over which percentiles and symbols' rates are taken
_STEP = 10


@dataclass(slots=True)
class Sample:
    """Rates per second over the sample's time, and the levels at its end."""

    at_ns: int
    received: dict[str, float]  # by kind
    delivered: float
    bytes_out: float
    clients: int
    buffered: int  # bytes, over all clients
    feed_lag_p99: int  # ns
    relay_lag_p50: int
    relay_lag_p99: int


@dataclass(slots=True)
class _Mark:
    """The counters at one moment."""

    at_ns: int
    received: dict[str, int]
    delivered: int
    bytes_out: int
    feed_lag: Histogram
    relay_lag: Histogram
    durable_lag: Histogram
    symbols: Counter[str] = field(default_factory=Counter)


class Sampler:
    """Takes a sample each second with `tick()`; a minute's worth is put together into one of the day's samples."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.seconds: deque[Sample] = deque(maxlen=SECONDS_KEPT)
        self.minutes: deque[Sample] = deque(maxlen=MINUTES_KEPT)
        self._last = self._mark()
        self._minute = self._last
        self._steps: deque[_Mark] = deque([self._mark(symbols=True)], maxlen=WINDOW // _STEP + 1)

    def _mark(self, *, symbols: bool = False) -> _Mark:
        state = self.state
        return _Mark(
            state.clock(),
            {kind: channel.received for kind, channel in state.channels.items()},
            state.delivered,
            state.bytes_out,
            state.feed_lag.copy(),
            state.relay_lag.copy(),
            state.durable_lag.copy(),
            state.symbols.copy() if symbols else Counter(),
        )

    def tick(self) -> None:
        now = self._mark()
        if now.at_ns <= self._last.at_ns:  # the clock was set back
            self._last = self._minute = now
            return
        self.seconds.append(self._sample(self._last, now))
        self._last = now
        if now.at_ns - self._minute.at_ns >= 60_000_000_000:
            self.minutes.append(self._sample(self._minute, now))
            self._minute = now
        if now.at_ns - self._steps[-1].at_ns >= _STEP * 1_000_000_000:
            self._steps.append(self._mark(symbols=True))

    def _sample(self, then: _Mark, now: _Mark) -> Sample:
        seconds = (now.at_ns - then.at_ns) / 1e9
        relay_p50, relay_p99 = now.relay_lag.since(then.relay_lag).percentiles((0.5, 0.99))
        [feed_p99] = now.feed_lag.since(then.feed_lag).percentiles((0.99,))
        return Sample(
            now.at_ns,
            {kind: (count - then.received.get(kind, 0)) / seconds for kind, count in now.received.items()},
            (now.delivered - then.delivered) / seconds,
            (now.bytes_out - then.bytes_out) / seconds,
            len(self.state.clients),
            sum(client.buffered for client in self.state.clients.values()),
            feed_p99,
            relay_p50,
            relay_p99,
        )

    def lags(self) -> dict[str, Histogram]:
        """The durations of the last minute or so."""
        then, state = self._steps[0], self.state
        return {
            "feed": state.feed_lag.since(then.feed_lag),
            "relay": state.relay_lag.since(then.relay_lag),
            "durable": state.durable_lag.since(then.durable_lag),
        }

    def symbols(self, limit: int) -> list[tuple[str, float]]:
        """The busiest symbols of the last minute or so, with messages per second."""
        then = self._steps[0]
        seconds = max((self.state.clock() - then.at_ns) / 1e9, 1.0)
        recent = Counter({name: count - then.symbols[name] for name, count in self.state.symbols.items()})
        return [(name, count / seconds) for name, count in recent.most_common(limit)]

    async def run(self) -> None:
        """Tick each second until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + 1.0, loop.time())
            await asyncio.sleep(due - loop.time())
            self.tick()
