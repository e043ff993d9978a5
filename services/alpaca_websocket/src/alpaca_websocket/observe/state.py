# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server knows about itself, in plain fields that the event loop updates and the pages read.

Times are UTC nanoseconds since the epoch (`time.time_ns()`), sizes bytes. Nothing here takes a lock: everything is
written and read on the event loop.
"""

from __future__ import annotations

import enum
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from ..protocol import Messages
from .histogram import Histogram
from .losses import Losses
from .trading import TradingStates

KEPT_GAPS = 50
KEPT_EVENTS = 200

_kind = itemgetter(0)
_symbol = itemgetter(1)


class Phase(enum.StrEnum):
    """What the upstream connection is doing."""

    STARTING = "starting"
    STANDBY = "standby"  # another instance holds the lease
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    STREAMING = "streaming"
    SILENT = "silent"  # connected, but nothing comes although the calendar says that something should
    WAITING = "waiting"  # backing off until the next attempt
    HALTED = "halted"  # an error that no attempt can mend (402, 409): a person is needed
    STOPPING = "stopping"


@dataclass(slots=True)
class Channel:
    """What came in on one channel."""

    received: int = 0
    last_ns: int = 0  # 0: nothing yet


@dataclass(slots=True)
class Client:
    """One downstream connection. `subscriptions` maps a channel's name to its symbols."""

    id: int
    address: str
    connected_ns: int
    name: str = ""  # of its token; empty before it is authenticated
    format: str = "json"
    compressed: bool = False
    subscriptions: Mapping[str, Collection[str]] = field(default_factory=dict)
    delivered: int = 0
    sent_bytes: int = 0
    buffered: int = 0
    buffered_highest: int = 0
    slow: bool = False  # was told 407


FILLED = "filled"


@dataclass(slots=True)
class GapChannel:
    """What a gap is for one channel."""

    began_ns: int  # its last message, or when it was subscribed
    symbols: int
    fetched: int = 0  # messages
    result: str = ""  # FILLED, or what is missing and why; empty while that is not known yet


@dataclass(slots=True)
class Arrivals:
    """Connections to the port that clients come to, of all feeds together."""

    unauthenticated: int = 0
    waiting: int = 0  # for a place among the unauthenticated
    clients: int = 0  # authenticated
    turned_away: Counter[str] = field(default_factory=Counter)  # by reason


@dataclass(slots=True)
class Gap:
    """A time in which the upstream feed, or something of it, was not received."""

    began_ns: int
    reason: str
    ended_ns: int = 0  # 0: still open
    bars: int = 0  # fetched afterwards
    trades: int = 0
    filled: bool = False  # all of it was asked for and answered, of every channel
    error: str = ""
    settled: bool = False  # it is known what was fetched and what is missing
    channels: dict[str, GapChannel] = field(default_factory=dict)

    @property
    def missing(self) -> dict[str, str]:
        """Channel → why it is not filled, or not in full."""
        return {name: each.result for name, each in self.channels.items() if each.result not in ("", FILLED)}


class State:
    """One per process; made first and handed to every part.

    :param store: returns the store's statistics (see `store.StoreStats`), or None where there is no store
    """

    def __init__(self, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.clock = clock
        self.started_ns = clock()
        self.version = ""
        self.upstream_url = ""
        # upstream
        self.phase = Phase.STARTING
        self.phase_since_ns = self.started_ns
        self.phase_lost_ns = self.started_ns  # since when it has been neither streaming nor in standby
        self.phase_detail = ""
        self.session_open: bool | None = None  # by the exchange's calendar; None: not known
        self.channels: dict[str, Channel] = {}  # by kind: "t", "q", …
        self.symbols: Counter[str] = Counter()
        self.frames_in = 0
        self.bytes_in = 0
        self.malformed = 0
        self.repaired = 0  # messages in which invalid UTF-8 was replaced
        self.reconnects: Counter[str] = Counter()  # by reason
        self.upstream_errors: Counter[int] = Counter()  # by code
        self.upstream_subscriptions: Mapping[str, Collection[str]] = {}  # by channel name
        self.upstream_dropped: Mapping[str, Collection[str]] = {}  # asked for, but refused by 405
        self.gaps: deque[Gap] = deque(maxlen=KEPT_GAPS)
        self.gap_count = 0
        self.losses = Losses()
        self.trading = TradingStates()
        self.backfilled: Counter[str] = Counter()  # messages by kind
        # downstream
        self.clients: dict[int, Client] = {}
        self.clients_total = 0
        self.delivered = 0
        self.bytes_out = 0
        self.client_errors: Counter[int] = Counter()  # error codes sent to clients
        self.clients_cut = 0
        self.dropped: Counter[str] = Counter()  # messages given up, by reason
        # durations
        self.feed_lag = Histogram()  # exchange time stamp to receipt
        self.relay_lag = Histogram()  # receipt to the write to the client's socket
        self.durable_lag = Histogram()  # receipt to fsync
        # the rest
        self.alerts: dict[str, str] = {}  # conditions that a person must see, by name; health fails while there are any
        self.events: deque[tuple[int, str]] = deque(maxlen=KEPT_EVENTS)  # what a person reads on the page
        self.store: Callable[[], Any] | None = None
        self.on_settled: Callable[[Gap, Mapping[str, str]], None] = lambda _gap, _results: None

    def received(self, messages: Messages, size: int, now_ns: int) -> None:
        """Count the messages of one frame of `size` bytes. On the hot path."""
        self.frames_in += 1
        self.bytes_in += size
        self.symbols.update(map(_symbol, messages.pairs))
        kinds = list(map(_kind, messages.pairs))
        for kind in messages.kinds:
            channel = self.channels.get(kind)
            if channel is None:
                channel = self.channels[kind] = Channel()
            channel.received += kinds.count(kind)
            channel.last_ns = now_ns

    def enter(self, phase: Phase, detail: str = "") -> None:
        """The upstream connection goes into another phase; `detail` says why, in words for a person."""
        if (phase, detail) == (self.phase, self.phase_detail):
            return
        if phase != self.phase:
            self.phase_since_ns = self.clock()
            if self.phase in (Phase.STREAMING, Phase.STANDBY):
                self.phase_lost_ns = self.phase_since_ns
        self.phase, self.phase_detail = phase, detail
        self.note(f"{phase.value}: {detail}" if detail else phase.value)

    def note(self, text: str) -> None:
        """Show an event on the page."""
        self.events.append((self.clock(), text))

    def alert(self, name: str, text: str) -> None:
        """Raise a condition, or change its text."""
        if self.alerts.get(name) != text:
            self.alerts[name] = text
            self.note(f"alert: {text}")

    def clear(self, name: str) -> None:
        """The condition is over."""
        if self.alerts.pop(name, None) is not None:
            self.note(f"over: {name}")

    def open_gap(self, reason: str, began_ns: int = 0) -> Gap:
        """The feed is lost since `began_ns` (the last useful message). Returns the gap that is open, old or new."""
        if self.gaps and not self.gaps[-1].ended_ns:
            return self.gaps[-1]
        gap = Gap(began_ns or self.clock(), reason)
        self.gaps.append(gap)
        self.gap_count += 1
        self.note(f"gap: {reason}")
        return gap

    def settle(self, gap: Gap, results: Mapping[str, str]) -> None:
        """It is known what of a gap was fetched: channel → FILLED, or what is missing and why."""
        gap.settled, gap.filled = True, not gap.missing
        for name, result in results.items():
            if result != FILLED:
                self.losses.add(name, gap.channels[name].began_ns, gap.ended_ns or time.time_ns(), result)
        if results:
            self.on_settled(gap, results)

    def add_gap(self, gap: Gap) -> None:
        """One that is over, and is not of this server's own connection."""
        still_open = self.gaps.pop() if self.gaps and not self.gaps[-1].ended_ns else None
        self.gaps.append(gap)
        if still_open is not None:
            self.gaps.append(still_open)
        self.gap_count += 1
        self.note(f"gap: {gap.reason}")

    def filling(self, since_ns: int, channels: Collection[str]) -> dict[str, str]:
        """Channel → what is missing since then that may still be fetched."""
        found = {}
        for gap in self.gaps:
            if gap.settled or (gap.ended_ns and gap.ended_ns < since_ns):
                continue
            for name in channels:
                each = gap.channels.get(name)
                if each is None and gap.channels:
                    continue
                if each is None or not each.result:
                    found[name] = "still being filled" if gap.ended_ns else f"not received yet: {gap.reason}"
        return found

    def missing(self, since_ns: int, channels: Collection[str]) -> dict[str, str]:
        """Channel → why not all that came since then is stored."""
        return {**self.losses.since(since_ns, channels), **self.filling(since_ns, channels)}

    @property
    def received_total(self) -> int:
        return sum(channel.received for channel in self.channels.values())

    @property
    def last_message_ns(self) -> int:
        """When the last message of any channel came; 0: none yet."""
        return max((channel.last_ns for channel in self.channels.values()), default=0)
