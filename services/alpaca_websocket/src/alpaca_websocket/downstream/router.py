# SPDX-License-Identifier: GPL-3.0-or-later
"""Which message goes to whom.

Clients of equal subscription, format and compression form a group: a frame is made once for all of them, of everything
that came in one turn of the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Mapping, Set
from typing import Protocol, cast

from ..observe.state import State
from ..protocol import (
    CHANNELS,
    FOLLOWERS,
    NEWS,
    SUBSCRIBED_AS,
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
# A frame holds at most this many, well below the mebibyte that `websockets` accepts by default.
_FRAME_MESSAGES = 1000
_HEADROOM = bytearray(HEADROOM)
_JSON_FRAME = _HEADROOM + b"[%b]"


def _parts(pending: list[bytes]) -> list[list[bytes]]:
    return [pending[start : start + _FRAME_MESSAGES] for start in range(0, len(pending), _FRAME_MESSAGES)]


def _json_frame(raws: list[bytes]) -> bytearray:
    return cast(bytearray, _JSON_FRAME % b",".join(raws))  # the stubs call it bytes


class Receiver(Protocol):
    """A client, as the router sees it. What stands here does not change while it is subscribed."""

    msgpack: bool
    deflate_bits: int  # 0: not compressed
    backfilled: bool  # whether it gets what was fetched after a gap

    def deliver(self, frame: bytearray, compressed: bool, count: int) -> None:
        """Send a frame of that many messages, its payload behind HEADROOM. Never raises, never waits."""


class _Group:
    __slots__ = ("backfilled", "bits", "digest", "members", "msgpack", "pairs", "pending")

    def __init__(self, pairs: set[Pair], digest: int, receiver: Receiver) -> None:
        self.pairs = pairs
        self.digest = digest  # of the pairs, whatever their order
        self.msgpack = receiver.msgpack
        self.bits = receiver.deflate_bits
        self.backfilled = receiver.backfilled
        self.members: tuple[Receiver, ...] = ()
        self.pending: list[bytes] = []

    @property
    def key(self) -> _Key:
        return self.digest, len(self.pairs), self.msgpack, self.bits, self.backfilled


_Key = tuple[int, int, bool, int, bool]
# `append` of what waits for each group that wants a message.
_Route = tuple[Callable[[bytes], None], ...]


class _Routes(dict[Pair, _Route]):
    """Routes in one format, found out when they are first needed."""

    def __init__(self, index: Mapping[Pair, Mapping[_Group, None]], *, msgpack: bool, backfilled: bool) -> None:
        super().__init__()
        self._index, self._msgpack, self._backfilled = index, msgpack, backfilled

    def __missing__(self, pair: Pair) -> _Route:
        kind = SUBSCRIBED_AS.get(pair[0], pair[0])
        groups: dict[_Group, None] = {}
        for symbol in (*symbols_of(pair), "*"):
            groups |= self._index.get((kind, symbol), {})
        route = self[pair] = tuple(
            group.pending.append
            for group in groups
            if group.msgpack is self._msgpack and (group.backfilled or not self._backfilled)
        )
        return route

    def forget(self, pair: Pair) -> None:
        kinds = FOLLOWERS.get(pair[0], (pair[0],))
        if pair[1] == "*" or pair[0] == NEWS:  # a piece of news may be of this symbol among others
            for known in [known for known in self if known[0] in kinds]:
                del self[known]
        elif self:
            for kind in kinds:
                self.pop((kind, pair[1]), None)


class Router:
    """All of it runs on the event loop.

    :param on_change: called when the union of what is asked for has changed
    """

    def __init__(self, state: State, on_change: Callable[[], None]) -> None:
        self._state = state
        self._on_change = on_change
        self._groups: dict[_Group, None] = {}
        self._alike: dict[_Key, list[_Group]] = {}  # groups whose pairs may be the same
        self._of: dict[Receiver, _Group] = {}
        self._index: dict[Pair, dict[_Group, None]] = {}
        self._wanted: dict[str, set[str]] = {}
        self._union_changed = False
        self._routes = _Routes(self._index, msgpack=False, backfilled=False)
        self._packed_routes = _Routes(self._index, msgpack=True, backfilled=False)
        self._late_routes = _Routes(self._index, msgpack=False, backfilled=True)
        self._packed_late_routes = _Routes(self._index, msgpack=True, backfilled=True)
        self._packed_groups = 0  # that get msgpack
        self._scheduled = False
        self._oldest_ns = 0
        self._since_ns = 0
        self._round: list[_Group] = []

    def subscribe(self, receiver: Receiver, added: Collection[Pair], dropped: Collection[Pair] = ()) -> None:
        """Changes what the receiver is subscribed to. Its cost follows what changes, as long as nobody else has the
        same subscription before or after."""
        group = self._of.get(receiver)
        before = group.pairs if group else frozenset[Pair]()
        more = {pair for pair in added if pair not in before}
        less = {pair for pair in dropped if pair in before} - more
        if not more and not less:
            return
        digest = group.digest if group else 0
        for pair in itertools.chain(more, less):
            digest ^= hash(pair)
        if group is not None:
            self._write_now(group)  # what came before belongs to the old subscription
        if len(before) + len(more) == len(less):
            self._leave(receiver)
        elif (other := self._same(receiver, digest, before, more, less)) is not None:
            self._write_now(other)
            self._leave(receiver)
            self._join(receiver, other)
        elif group is not None and len(group.members) == 1:
            self._change(group, digest, more, less)
        else:
            self._leave(receiver)
            made = _Group({*before, *more} - less, digest, receiver)
            self._add(made)
            self._join(receiver, made)
        self._tell()

    def remove(self, receiver: Receiver) -> None:
        """The receiver is gone."""
        group = self._of.get(receiver)
        if group is not None:
            self._leave(receiver)
            self._tell()

    def _tell(self) -> None:
        """Tells of a change of the union, if there was one."""
        if self._union_changed:
            self._union_changed = False
            self._on_change()

    def _same(
        self, receiver: Receiver, digest: int, before: Set[Pair], more: set[Pair], less: set[Pair]
    ) -> _Group | None:
        """A group that has exactly these pairs already."""
        key = digest, len(before) + len(more) - len(less), receiver.msgpack, receiver.deflate_bits, receiver.backfilled
        for group in self._alike.get(key, ()):
            if more <= group.pairs and less.isdisjoint(group.pairs) and group.pairs - more <= before:
                return group
        return None

    def _join(self, receiver: Receiver, group: _Group) -> None:
        group.members += (receiver,)
        self._of[receiver] = group

    def _leave(self, receiver: Receiver) -> None:
        group = self._of.pop(receiver, None)
        if group is None:
            return
        group.members = tuple(member for member in group.members if member is not receiver)
        if group.members:
            return
        self._unfile(group)
        del self._groups[group]
        self._packed_groups -= group.msgpack
        self._drop(group, group.pairs)

    def _add(self, group: _Group) -> None:
        self._alike.setdefault(group.key, []).append(group)
        self._groups[group] = None
        self._packed_groups += group.msgpack
        self._enter(group, group.pairs)

    def _change(self, group: _Group, digest: int, more: set[Pair], less: set[Pair]) -> None:
        self._unfile(group)
        group.pairs -= less
        group.pairs |= more
        group.digest = digest
        self._alike.setdefault(group.key, []).append(group)
        self._drop(group, less)
        self._enter(group, more)

    def _unfile(self, group: _Group) -> None:
        alike = self._alike[group.key]
        alike.remove(group)
        if not alike:
            del self._alike[group.key]

    def _enter(self, group: _Group, pairs: Set[Pair]) -> None:
        index = self._index
        for pair in pairs:
            groups = index.get(pair)
            if groups is None:
                index[pair] = {group: None}
                self._wanted.setdefault(CHANNELS[pair[0]], set()).add(pair[1])
                self._union_changed = True
            else:
                groups[group] = None
            self._forget(pair)

    def _drop(self, group: _Group, pairs: Set[Pair]) -> None:
        index = self._index
        for pair in pairs:
            groups = index[pair]
            del groups[group]
            if not groups:
                del index[pair]
                symbols = self._wanted[CHANNELS[pair[0]]]
                symbols.discard(pair[1])
                if not symbols:
                    del self._wanted[CHANNELS[pair[0]]]
                self._union_changed = True
            self._forget(pair)

    def wanted(self) -> Mapping[str, Set[str]]:
        """Channel → symbols that at least one client asks for, without what comes by itself. Not to be changed."""
        return self._wanted

    def publish(self, messages: Messages, received_ns: int, *, backfilled: bool = False) -> None:
        """Queues the messages for whoever asked; they leave in the next turns of the event loop.

        :param backfilled: they were fetched after a gap, and are for those who asked for such
        """
        if not self._index:
            return
        routes = self._late_routes if backfilled else self._routes
        for raw, route in zip(messages.raws, map(routes.__getitem__, messages.pairs), strict=True):
            for append in route:
                append(raw)
        if self._packed_groups:
            self._publish_packed(messages, self._packed_late_routes if backfilled else self._packed_routes)
        if not self._since_ns:
            self._since_ns = received_ns
        if not self._scheduled:
            self._schedule()

    def _publish_packed(self, messages: Messages, routes: _Routes) -> None:
        for raw, route in zip(messages.raws, map(routes.__getitem__, messages.pairs), strict=True):
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
        pending = [group for group in self._groups if group.pending]
        oldest = self._oldest()
        self._round = []
        self._write(pending, oldest)

    def _write_now(self, group: _Group) -> None:
        if group.pending:
            self._write([group], self._oldest())

    def _oldest(self) -> int:
        """When the oldest came of what waits."""
        return (self._round and self._oldest_ns) or self._since_ns or time.time_ns()

    def _turn(self) -> None:
        """Sends to the next groups of the round."""
        if not self._round:
            self._round = [group for group in self._groups if group.pending]
            self._oldest_ns, self._since_ns = self._since_ns or time.time_ns(), 0
        self._write(self._round[:_GROUPS_A_TURN], self._oldest_ns)
        del self._round[:_GROUPS_A_TURN]
        self._scheduled = False
        if self._round or any(group.pending for group in self._groups):
            self._schedule()

    def _schedule(self) -> None:
        """Goes on in the next turn of the event loop."""
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._turn)

    def _write(self, groups: list[_Group], oldest_ns: int) -> None:
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
            self._state.relay_lag.record(time.time_ns() - oldest_ns, delivered)

    def _forget(self, pair: Pair) -> None:
        for routes in (self._routes, self._packed_routes, self._late_routes, self._packed_late_routes):
            routes.forget(pair)
