# SPDX-License-Identifier: GPL-3.0-or-later
"""Our one addition to the protocol: a client asks for what it missed.

    > {"action":"replay","since":"2026-11-23T14:31:07.5Z","trades":["AAPL"]}     or since a sequence number
    < the messages, in frames like live ones
    < [{"T":"success","msg":"replayed","through":81274}]

What is known to be missing since then is named: `"missing":{"quotes":"not fetched: …"}`. So is what cannot be read.

While it runs, the client's live messages wait; they follow after it. So nothing is missing between the two, and nothing
comes twice. `through` is what to say as `since` the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

from ..protocol import (
    CHANNELS,
    FOLLOWERS,
    SUBSCRIBED_AS,
    Message,
    Pair,
    ProtocolError,
    join_json,
    join_msgpack,
    symbols_of,
    to_msgpack,
    valid,
)
from ..store.replay import Damaged, Stored
from ..websocket import deflate, worth_deflating
from .connection import Connection

_BATCH = 500
# Channel → those whose messages come with it: trades have their corrections and cancels.
_FOLLOWING = {
    CHANNELS[kind]: tuple(CHANNELS[each] for each in followers if each != kind) for kind, followers in FOLLOWERS.items()
}


class Since(NamedTuple):
    """Where a replay starts: after a sequence number, or at a time of receipt (ns since 1970)."""

    sequence: int = 0
    time_ns: int = 0


class History(Protocol):
    """What a replay needs of the store; `store.Store` has it."""

    def replay(
        self,
        kinds: Collection[str],
        symbols: Collection[str] | None = None,
        *,
        since_sequence: int = 0,
        since_time: int = 0,
        damaged: Callable[[Damaged], None] = ...,
    ) -> Iterator[Stored]:
        """See store.Store.replay."""


async def replay(
    connection: Connection,
    history: History,
    since: Since,
    wanted: frozenset[Pair],
    live: Callable[[], Mapping[Pair, int]],
    mark: Callable[[], int],
    held_from: int,
    missing: Callable[[], Mapping[str, str]],
    damaged: dict[Damaged, None],
) -> int:
    """Sends the past, then what has waited. Returns the sequence number that it reached.

    :param live: what the client is subscribed to now → the sequence number after which it gets that live
    :param mark: sends off what is queued, and returns the sequence number of the last message received
    :param held_from: the sequence number at which the client's live messages began to wait
    :param missing: channel → why not all of it is stored
    :param damaged: gets what cannot be read
    """
    while True:
        # Live messages from here on wait; all up to here are the past, which the store ends at as well.
        through = mark()
        connection.hold()
        subscribed = live()
        union = wanted | subscribed.keys()
        symbols = None if any(symbol == "*" for _kind, symbol in union) else {symbol for _kind, symbol in union}
        kinds = {follower for kind, _symbol in union for follower in FOLLOWERS.get(kind, (kind,))}
        past: dict[str, Any] = {"since_sequence": since.sequence, "since_time": since.time_ns}
        found = history.replay(kinds, symbols, **past, damaged=lambda each: damaged.setdefault(each))
        while connection.open and (part := await asyncio.to_thread(list, islice(found, _BATCH))):
            chosen = [
                message
                for sequence, _received, message in part
                if _due(message, sequence, wanted, subscribed, held_from)
            ]
            if chosen:
                send_messages(connection, chosen)
                await connection.drained()
        if not connection.open:
            return through
        if not connection.overheld and live().keys() <= subscribed.keys():
            lacks = {"missing": named} if (named := _with_damaged(missing(), damaged, wanted)) else {}
            connection.tell({"T": "success", "msg": "replayed", "through": through, **lacks})
            connection.release()
            return through
        # More came meanwhile than may wait, or the client has subscribed to more: that is the past of another round.
        since = Since(through)


def _with_damaged(
    missing: Mapping[str, str], damaged: Collection[Damaged], wanted: frozenset[Pair]
) -> Mapping[str, str]:
    found = dict(missing)
    for name in {CHANNELS[kind] for kind, _symbol in wanted}:
        whys = [str(each) for each in damaged if each.channel in ("", name, *_FOLLOWING.get(name, ()))]
        if whys:
            found[name] = "; ".join(filter(None, (found.get(name), *whys)))
    return found


def _due(
    message: Message, sequence: int, wanted: frozenset[Pair], subscribed: Mapping[Pair, int], held_from: int
) -> bool:
    kind = SUBSCRIBED_AS.get(message.kind, message.kind)
    pairs = [(kind, symbol) for symbol in (*symbols_of((message.kind, message.symbol)), "*")]
    begins = min((subscribed[pair] for pair in pairs if pair in subscribed), default=None)
    if begins is not None and sequence > begins:
        return sequence > held_from  # up to there it has come, live
    return any(pair in wanted for pair in pairs)


def send_messages(connection: Connection, messages: list[Message]) -> None:
    """Sends them as data, in one frame."""
    if not messages:
        return
    if connection.msgpack:
        payload = join_msgpack([packed for message in messages if (packed := _packed(message.raw))])
    else:
        payload = join_json(valid(message.raw) for message in messages)
    compressed = bool(connection.deflate_bits) and worth_deflating(len(payload))
    connection.send(deflate(payload, connection.deflate_bits) if compressed else payload, compressed, len(messages))


def _packed(raw: bytes) -> bytes | None:
    try:
        return to_msgpack(raw)
    except ProtocolError:
        return None
