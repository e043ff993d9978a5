# SPDX-License-Identifier: GPL-3.0-or-later
"""Which message goes to whom.

Clients of equal subscription, format and compression form a group: a frame is made once for all of them, of everything
that came in one turn of the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from ..observe.state import State
from ..protocol import (
    CHANNELS,
    FOLLOWS_TRADES,
    KINDS,
    NEWS,
    Messages,
    Pair,
    ProtocolError,
    join_msgpack,
    symbols_of,
    to_msgpack,
)
from ..websocket import HEADROOM, deflate, worth_deflating

# So many groups are written to in one turn of the event loop; then it reads again, and goes on with the next ones.
# Under load each write so holds what came in a whole round, and nobody waits for the writes to all others.
_GROUPS_A_TURN = 48
# After a round messages gather for as long as it took, but for a millisecond at most: where many are written to, larger
# and fewer writes cost less than that and wait no longer. Where few are, the pause is too short to be taken.
_LONGEST_PAUSE_NS = 1_000_000
_SHORTEST_PAUSE_NS = 500_000  # the loop's timers are no finer
# A frame holds at most this many, well below the mebibyte that `websockets` accepts by default.
_FRAME_MESSAGES = 1000
_HEADROOM = bytearray(HEADROOM)
_JSON_FRAME = _HEADROOM + b"[%b]"


def _parts(pending: list[bytes]) -> list[list[bytes]]:
    return [pending[start : start + _FRAME_MESSAGES] for start in range(0, len(pending), _FRAME_MESSAGES)]


def _json_frame(raws: list[bytes]) -> bytearray:
    return cast(bytearray, _JSON_FRAME % b",".join(raws))  # the stubs call it bytes


class Receiver(Protocol):
    """A client, as the router sees it."""

    msgpack: bool
    deflate_bits: int  # 0: not compressed

    def deliver(self, frame: bytearray, compressed: bool, count: int) -> None:
        """Send a frame of that many messages, its payload behind HEADROOM. Never raises, never waits."""


class _Group:
    __slots__ = ("bits", "members", "msgpack", "pairs", "pending")

    def __init__(self, pairs: frozenset[Pair], msgpack: bool, bits: int) -> None:
        self.pairs = pairs
        self.msgpack = msgpack
        self.bits = bits
        self.members: tuple[Receiver, ...] = ()
        self.pending: list[bytes] = []


# `append` of what waits for each group that wants a message.
_Route = tuple[Callable[[bytes], None], ...]


class _Routes(dict[Pair, _Route]):
    """Routes in one format, found out when they are first needed."""

    def __init__(self, index: Mapping[Pair, Mapping[_Group, None]], *, msgpack: bool) -> None:
        super().__init__()
        self._index, self._msgpack = index, msgpack

    def __missing__(self, pair: Pair) -> _Route:
        groups: dict[_Group, None] = {}
        for symbol in (*symbols_of(pair), "*"):
            groups |= self._index.get((pair[0], symbol), {})
        route = self[pair] = tuple(group.pending.append for group in groups if group.msgpack is self._msgpack)
        return route

    def forget(self, pair: Pair) -> None:
        if pair[1] == "*" or pair[0] == NEWS:  # a piece of news may be of this symbol among others
            for known in [known for known in self if known[0] == pair[0]]:
                del self[known]
        else:
            self.pop(pair, None)


def pairs(channels: dict[str, set[str]]) -> frozenset[Pair]:
    """What a subscription asks for; corrections and cancels come with trades."""
    found = {(KINDS[channel], symbol) for channel, symbols in channels.items() for symbol in symbols}
    found |= {(KINDS[name], symbol) for name in FOLLOWS_TRADES for symbol in channels.get("trades", ())}
    return frozenset(found)


class Router:
    """All of it runs on the event loop.

    :param on_change: called when the union of what is asked for has changed
    """

    def __init__(self, state: State, on_change: Callable[[], None]) -> None:
        self._state = state
        self._on_change = on_change
        self._groups: dict[tuple[frozenset[Pair], bool, int], _Group] = {}
        self._of: dict[Receiver, _Group] = {}
        self._index: dict[Pair, dict[_Group, None]] = {}
        self._routes = _Routes(self._index, msgpack=False)
        self._packed_routes = _Routes(self._index, msgpack=True)
        self._packing = False  # whether there is a group that gets msgpack
        self._scheduled = False
        self._oldest_ns = 0
        self._since_ns = 0
        self._round: list[_Group] = []
        self._spent_ns = 0  # on writes, in this round
        self._not_before_ns = 0

    def subscribe(self, receiver: Receiver, wanted: frozenset[Pair]) -> None:
        """Replaces what the receiver is subscribed to; nothing at all removes it."""
        self.flush()  # what came before belongs to the old subscription
        old = self._of.pop(receiver, None)
        if old is not None:
            old.members = tuple(member for member in old.members if member is not receiver)
        changed = False
        if wanted:
            key = (wanted, receiver.msgpack, receiver.deflate_bits)
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group(*key)
                for pair in wanted:
                    changed |= pair not in self._index
                    self._index.setdefault(pair, {})[group] = None
                    self._forget(pair)
            group.members += (receiver,)
            self._of[receiver] = group
        if old is not None and not old.members:
            del self._groups[old.pairs, old.msgpack, old.bits]
            for pair in old.pairs:
                del self._index[pair][old]
                self._forget(pair)
                if not self._index[pair]:
                    del self._index[pair]
                    changed = True
        self._packing = any(group.msgpack for group in self._groups.values())
        if changed:
            self._on_change()

    def wanted(self) -> dict[str, set[str]]:
        """Channel → symbols that at least one client asks for, without what comes by itself."""
        union: dict[str, set[str]] = {}
        for kind, symbol in self._index:
            if CHANNELS[kind] not in FOLLOWS_TRADES:
                union.setdefault(CHANNELS[kind], set()).add(symbol)
        return union

    def publish(self, messages: Messages, received_ns: int) -> None:
        """Queues the messages for whoever asked; they leave in the next turns of the event loop."""
        if not self._index:
            return
        for raw, route in zip(messages.raws, map(self._routes.__getitem__, messages.pairs), strict=True):
            for append in route:
                append(raw)
        if self._packing:
            self._publish_packed(messages)
        if not self._since_ns:
            self._since_ns = received_ns
        if not self._scheduled:
            self._scheduled = True
            self._schedule()

    def _publish_packed(self, messages: Messages) -> None:
        for raw, route in zip(messages.raws, map(self._packed_routes.__getitem__, messages.pairs), strict=True):
            if route:
                try:
                    packed = to_msgpack(raw)
                except ProtocolError:
                    self._state.dropped["not msgpack"] += 1
                    continue
                for append in route:
                    append(packed)

    def flush(self) -> None:
        """Sends all that is queued, at once."""
        self._round = []
        self._write([group for group in self._groups.values() if group.pending])

    def _turn(self) -> None:
        """Sends to the next groups of the round."""
        if not self._round:
            self._round = [group for group in self._groups.values() if group.pending]
            self._oldest_ns, self._since_ns = self._since_ns or time.time_ns(), 0
            self._spent_ns = 0
        began = time.perf_counter_ns()
        self._write(self._round[:_GROUPS_A_TURN])
        del self._round[:_GROUPS_A_TURN]
        now = time.perf_counter_ns()
        self._spent_ns += now - began
        if self._round:
            asyncio.get_running_loop().call_soon(self._turn)
            return
        self._not_before_ns = now + min(self._spent_ns, _LONGEST_PAUSE_NS)
        self._scheduled = any(group.pending for group in self._groups.values())
        if self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        """Begins a round, after the pause."""
        loop = asyncio.get_running_loop()
        pause = self._not_before_ns - time.perf_counter_ns()
        if pause > _SHORTEST_PAUSE_NS:
            loop.call_later(pause / 1e9, self._turn)
        else:
            loop.call_soon(self._turn)

    def _write(self, groups: list[_Group]) -> None:
        """One frame for each group."""
        delivered = size = 0
        for group in groups:
            pending = group.pending
            if not pending:  # sent meanwhile, by flush()
                continue
            for part in [pending] if len(pending) <= _FRAME_MESSAGES else _parts(pending):
                frame = _HEADROOM + join_msgpack(part) if group.msgpack else _json_frame(part)
                compressed = group.bits > 0 and worth_deflating(len(frame) - HEADROOM)
                if compressed:
                    frame = _HEADROOM + deflate(memoryview(frame)[HEADROOM:], group.bits)
                count, members = len(part), group.members
                for member in members:
                    member.deliver(frame, compressed, count)
                delivered += count * len(members)
                size += (len(frame) - HEADROOM) * len(members)
            pending.clear()  # the routes know this list
        if delivered:
            self._state.delivered += delivered
            self._state.bytes_out += size
            self._state.relay_lag.record(time.time_ns() - self._oldest_ns, delivered)

    def _forget(self, pair: Pair) -> None:
        self._routes.forget(pair)
        self._packed_routes.forget(pair)
