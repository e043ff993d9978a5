# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's stream protocol, both ways: channels, errors, frames in JSON and msgpack, requests of clients.

A data message is kept as the bytes of its own JSON object. Only its type and symbol are decoded, once; whatever else is
in it, fields of tomorrow included, passes through as it came.

Messages that came together stay together, as columns: a frame of them costs a few passes in C, not an object each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter, ne
from typing import Any, NamedTuple

import msgspec

# A message's "T" → the channel it is subscribed by. Which of them a feed has: endpoints.py. The last is no message of
# Alpaca's market data, but what we make of one of its trading protocol (trading.py).
CHANNELS = {
    "t": "trades",
    "q": "quotes",
    "b": "bars",
    "u": "updatedBars",
    "d": "dailyBars",
    "s": "statuses",
    "l": "lulds",
    "c": "corrections",
    "x": "cancelErrors",
    "o": "orderbooks",
    "n": "news",
    "trade_updates": "trade_updates",
}
KINDS = {channel: kind for kind, channel in CHANNELS.items()}
NEWS, TRADE_UPDATES = "n", "trade_updates"
# What comes with trades and is not subscribed by itself.
FOLLOWS_TRADES = ("corrections", "cancelErrors")
# The same by letter: what a message is subscribed as, and what comes with a subscription, itself included.
SUBSCRIBED_AS = {KINDS[name]: "t" for name in FOLLOWS_TRADES}
FOLLOWERS: Mapping[str, tuple[str, ...]] = {"t": ("t", *SUBSCRIBED_AS)}
ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    413: "star subscription is not allowed for this channel",
    500: "internal error",
}
_CONTROL = frozenset({"success", "error", "subscription"})
# Longer ones are nobody's; option symbols have 21 characters.
LONGEST_SYMBOL = 32
_TIMESTAMP = -1  # msgpack's extension type for points in time
_NEWS_TIMES = ("created_at", "updated_at")


class ProtocolError(ValueError):
    """A frame or request that is not of this protocol."""


# Kind, symbol: what a subscription asks for, and what a message is of. A piece of news is of all its symbols, with a
# comma between each two, or of none.
Pair = tuple[str, str]


def symbols_of(pair: Pair) -> Sequence[str]:
    """The symbols that a message is of."""
    return pair[1].split(",") if pair[0] == NEWS else (pair[1],)


class Message(msgspec.Struct, frozen=True, gc=False):
    """One data message; `raw` is its JSON object, without the array around it."""

    kind: str
    symbol: str
    raw: bytes


class Messages(msgspec.Struct, frozen=True, gc=False):
    """Data messages that came together, in their order.

    `kinds` is the set of theirs; `text` their JSON objects with a comma between each two, and perhaps white space.
    """

    pairs: Sequence[Pair]
    raws: Sequence[bytes]
    kinds: Collection[str]
    text: bytes

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Messages:
        listed = list(messages)
        raws = [message.raw for message in listed]
        pairs = [(message.kind, message.symbol) for message in listed]
        return cls(pairs, raws, {kind for kind, _ in pairs}, b",".join(raws))

    def __len__(self) -> int:
        return len(self.raws)

    def __iter__(self) -> Iterator[Message]:
        for (kind, symbol), raw in zip(self.pairs, self.raws, strict=True):
            yield Message(kind, symbol, raw)


class Frame(NamedTuple):
    """What one WebSocket message held: data, control messages, how many items were neither, and in how many invalid
    UTF-8 was replaced."""

    data: Messages
    control: list[dict[str, Any]]
    malformed: int
    repaired: int = 0


class Request(msgspec.Struct, forbid_unknown_fields=False):
    """What a client asks. `since` belongs to our own action "replay": RFC 3339 or a sequence number."""

    action: str
    key: str = ""
    secret: str = ""
    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []
    updatedBars: list[str] = []
    dailyBars: list[str] = []
    statuses: list[str] = []
    lulds: list[str] = []
    corrections: list[str] = []
    cancelErrors: list[str] = []
    orderbooks: list[str] = []
    news: list[str] = []
    trade_updates: list[str] = []
    since: str | int | None = None
    # Ours, with "subscribe": the last messages of the symbols; and whether what was fetched after a gap is wanted.
    snapshot: bool = False
    backfilled: bool | None = None
    # Set by `request`: lists under names that no feed knows.
    unknown: tuple[str, ...] = ()

    def channels(self) -> dict[str, list[str]]:
        """Channel → symbols, for the channels that are named with at least one symbol."""
        return {name: symbols for name in KINDS if (symbols := getattr(self, name))}


class _Head(msgspec.Struct, gc=False):
    T: str
    S: str = ""
    symbols: list[str] = []


class _Timed(msgspec.Struct, gc=False):
    t: str = ""


_raws = msgspec.json.Decoder(list[msgspec.Raw])
_head = msgspec.json.Decoder(_Head)
_timed = msgspec.json.Decoder(_Timed)
_object = msgspec.json.Decoder(dict[str, Any])
_request_json = msgspec.json.Decoder(Request)
_request_msgpack = msgspec.msgpack.Decoder(Request)
_members_json = msgspec.json.Decoder(dict[str, msgspec.Raw])
_members_msgpack = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_ASKED = frozenset(Request.__struct_fields__)
_to_json = msgspec.json.Encoder()
_kind = itemgetter(0)

# How Alpaca's data messages begin. What begins so is of the type and symbol that it names there, whatever follows.
_BEGINNING = re.compile(rb'{"T":"(.)","S":"([ !#-\[\]-~]{1,%d})"' % LONGEST_SYMBOL)
# Their first bytes, as many as hold type and symbol of a share, → what they are of. Longer symbols are read each time.
_known: dict[bytes, Pair] = {}
_FIRST = len(b'{"T":"q","S":"GOOGL"')
_MOST_KNOWN = 100_000


def split(frame: bytes) -> Frame:
    """Takes a JSON frame apart. Raises ProtocolError if it is not an array; never anything else."""
    try:
        raws = list(map(bytes, _raws.decode(frame)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a JSON array: {error}") from error
    if not frame.isascii() and not _is_utf8(frame):
        repaired = list(map(valid, raws))
        return _sort(repaired)._replace(repaired=sum(map(ne, raws, repaired)))
    try:
        pairs = [_known[raw[:_FIRST]] for raw in raws]
    except KeyError:
        return _sort(raws)
    text = frame[1:-1] if frame.startswith(b"[") and frame.endswith(b"]") else b",".join(raws)
    return Frame(Messages(pairs, raws, set(map(_kind, pairs)), text), [], 0)


def _is_utf8(frame: bytes) -> bool:
    try:
        frame.decode()
    except UnicodeDecodeError:
        return False
    return True


def _sort(items: list[bytes]) -> Frame:
    """Tells data, control messages and the rest apart."""
    pairs: list[Pair] = []
    raws: list[bytes] = []
    control: list[dict[str, Any]] = []
    malformed = 0
    for raw in items:
        pair = _known.get(raw[:_FIRST]) or _pair(raw)
        if pair is not None:
            pairs.append(pair)
            raws.append(raw)
        elif (decoded := _try_object(raw)) and _is_control(decoded):
            control.append(decoded)
        else:
            malformed += 1
    return Frame(Messages(pairs, raws, set(map(_kind, pairs)), b",".join(raws)), control, malformed)


def _pair(raw: bytes) -> Pair | None:
    """What a JSON object is of, if it is a data message."""
    beginning = _BEGINNING.match(raw)
    if beginning and (kind := beginning[1].decode("latin-1")) in CHANNELS:
        pair = kind, beginning[2].decode()
        if beginning.end() <= _FIRST:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[raw[:_FIRST]] = pair
        return pair
    try:
        head = _head.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _checked(head.T, head.S, head.symbols)


def _checked(kind: object, symbol: object, symbols: object) -> Pair | None:
    """What a message is of that has these, if it is a data message."""
    if kind == NEWS and isinstance(symbols, list):
        return NEWS, ",".join(map(str, symbols))
    if kind in CHANNELS and isinstance(symbol, str) and len(symbol) <= LONGEST_SYMBOL:
        return (str(kind), symbol) if symbol or kind == TRADE_UPDATES else None
    return None


def split_msgpack(frame: bytes) -> Frame:
    """The same for a msgpack frame; data messages become JSON, timestamps RFC 3339."""
    try:
        raws = _maps.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a msgpack array: {error}") from error
    data: list[Message] = []
    control: list[dict[str, Any]] = []
    malformed = 0
    for raw in raws:
        try:
            item = {name: _plain(value) for name, value in _map.decode(raw).items()}
            if pair := _checked(item.get("T"), item.get("S"), item.get("symbols")):
                data.append(Message(*pair, _to_json.encode(item)))
            elif _is_control(item):
                control.append(item)
            else:
                malformed += 1
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, OSError, RecursionError):
            malformed += 1
    return Frame(Messages.of(data), control, malformed)


def to_msgpack(raw: bytes) -> bytes:
    """A message's JSON object as a msgpack map, its times as the timestamp extension, which alpaca-py insists on.

    Raises ProtocolError where JSON allows what msgpack has no form for.
    """
    try:
        item = _object.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from error
    if "t" in item:
        _stamp(item, "t")
    elif item.get("T") == NEWS:
        for name in _NEWS_TIMES:
            _stamp(item, name)
    try:
        return msgspec.msgpack.encode(item)
    except (OverflowError, ValueError, RecursionError) as error:  # msgpack's integers end at 64 bits
        raise ProtocolError(str(error)) from error


def _stamp(item: dict[str, Any], name: str) -> None:
    moment = item.get(name)
    if isinstance(moment, str):
        with suppress(ValueError):  # what is no time is passed on as it came
            item[name] = msgspec.msgpack.Ext(_TIMESTAMP, _pack_time(time_ns(moment)))


def join_json(raws: Iterable[bytes]) -> bytes:
    """JSON objects → one frame."""
    return b"[%b]" % b",".join(raws)


def join_msgpack(maps: Sequence[bytes]) -> bytes:
    """msgpack maps → one frame."""
    count = len(maps)
    if count < 16:
        header = bytes((0x90 | count,))
    elif count < 1 << 16:
        header = b"\xdc" + count.to_bytes(2, "big")
    else:
        header = b"\xdd" + count.to_bytes(4, "big")
    return header + b"".join(maps)


BACKFILLED = b',"backfilled":true}'  # how a message ends that was fetched after a gap


def mark_backfilled(raw: bytes) -> bytes:
    """Adds `"backfilled":true` to a JSON object that has at least one member."""
    return raw.rstrip()[:-1].rstrip() + BACKFILLED


def mark_snapshot(raw: bytes) -> bytes:
    """Adds `"snapshot":true` to a JSON object that has at least one member."""
    return b'%b,"snapshot":true}' % raw.rstrip()[:-1].rstrip()


def valid(raw: bytes) -> bytes:
    """The same, with U+FFFD in place of what is no UTF-8: a text frame with anything else would end connections."""
    if raw.isascii():
        return raw
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw.decode(errors="replace").encode()
    return raw


def moment_ns(raw: bytes) -> int:
    """The time that a data message carries, in ns since 1970; 0 where it has none that can be read."""
    try:
        return time_ns(_timed.decode(raw).t)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, OverflowError):
        return 0


def request(frame: bytes, *, msgpack: bool) -> Request:
    """Decodes what a client sent. Raises ProtocolError."""
    try:
        found = (_request_msgpack if msgpack else _request_json).decode(frame)
        found.unknown = ()
        if found.action in ("subscribe", "unsubscribe", "replay"):
            members = (_members_msgpack if msgpack else _members_json).decode(frame)
            found.unknown = tuple(name for name in members.keys() - _ASKED if _is_list(members[name], msgpack))
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from error


def _is_list(raw: msgspec.Raw, msgpack: bool) -> bool:
    """Whether it is an array with something in it."""
    first = bytes(raw)[:2]
    if msgpack:
        return 0x90 < first[0] < 0xA0 or first[0] in (0xDC, 0xDD)
    return first[:1] == b"[" and bytes(raw)[1:].lstrip() != b"]"


def encode(*items: dict[str, Any], msgpack: bool = False) -> bytes:
    """A frame of control messages."""
    return msgspec.msgpack.encode(items) if msgpack else _to_json.encode(items)


def encode_request(message: dict[str, Any], *, msgpack: bool = False) -> bytes:
    """A request, which unlike everything else is not in an array."""
    return msgspec.msgpack.encode(message) if msgpack else _to_json.encode(message)


def error(code: int, detail: str = "") -> dict[str, Any]:
    """The protocol's error message; a detail is appended after a colon."""
    return {"T": "error", "code": code, "msg": f"{ERRORS[code]}: {detail}" if detail else ERRORS[code]}


@lru_cache(maxsize=4096)
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def time_ns(text: str) -> int:
    """RFC 3339 → nanoseconds since 1970, UTC. Raises ValueError."""
    if len(text) < 20:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    if text[-1] not in "Zz":
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError(f"no time zone in {text!r}")
        fraction = text[20:-6] if text[19] == "." else ""
        return int(moment.replace(microsecond=0).timestamp()) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))
    fraction = text[20:-1]
    if fraction and not (text[19] == "." and fraction.isascii() and fraction.isdecimal()):
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    return _seconds(text[:19]) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def rfc3339(ns: int) -> str:
    """Nanoseconds since 1970 → RFC 3339 in UTC, with as many digits as it takes, like Alpaca's."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def _pack_time(ns: int) -> bytes:
    seconds, rest = divmod(ns, 1_000_000_000)
    if 0 <= seconds < 1 << 34:
        return (rest << 34 | seconds).to_bytes(8, "big")
    return rest.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True)


def _plain(value: Any) -> Any:
    """Timestamp extensions, wherever they are, as RFC 3339."""
    if isinstance(value, msgspec.msgpack.Ext):
        return _moment(value.code, bytes(value.data))
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    return value


def _moment(code: int, raw: bytes) -> str:
    if code != _TIMESTAMP:
        raise ValueError(f"an extension of type {code}")
    number = int.from_bytes(raw[-8:], "big", signed=len(raw) == 12)
    if len(raw) == 4:
        return rfc3339(number * 1_000_000_000)
    if len(raw) == 8:
        return rfc3339((number & (1 << 34) - 1) * 1_000_000_000 + (number >> 34))
    if len(raw) == 12:
        return rfc3339(number * 1_000_000_000 + int.from_bytes(raw[:4], "big"))
    raise ValueError(f"a timestamp of {len(raw)} bytes")


# Decoded as Any, a timestamp would become a datetime and lose its nanoseconds.
_Value = msgspec.msgpack.Ext | str | int | float | bool | list[Any] | dict[str, Any] | None
_map = msgspec.msgpack.Decoder(dict[str, _Value])
_maps = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _is_control(item: Mapping[str, Any]) -> bool:
    """Whether it can be acted on; what is subscribed must be told as lists of symbols."""
    kind = item.get("T")
    if kind != "subscription":
        return isinstance(kind, str) and kind in _CONTROL
    listed = (item[name] for name in KINDS if item.get(name) is not None)
    return all(isinstance(symbols, list) and all(isinstance(one, str) for one in symbols) for symbols in listed)


def _try_object(raw: bytes) -> dict[str, Any] | None:
    try:
        return _object.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
