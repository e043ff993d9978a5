# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's trading protocol, in which an account's own orders come.

    > {"action":"auth","key":…,"secret":…}     or {"action":"authenticate","data":{"key_id":…,"secret_key":…}}
    < {"stream":"authorization","data":{"status":"authorized","action":"authenticate"}}
    > {"action":"listen","data":{"streams":["trade_updates"]}}
    < {"stream":"listening","data":{"streams":["trade_updates"]}}
    < {"stream":"trade_updates","data":{"event":"fill",…,"order":{…}}}

Inside, everything is in the protocol of the market data. It is translated here, on both sides, so that nothing else has
to know two. An update becomes a message of the kind `trade_updates`: its own members stay as they came, behind `T`, the
order's symbol `S` and the time `t`.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from .protocol import ERRORS, TRADE_UPDATES, ProtocolError, Request

_PREFIX = re.compile(rb'\{"T":"trade_updates","S":"(?:[^"\\]|\\.)*"(?:,"t":"[^"]*")?,')
_UNHEARD = (401, 402, 404, 406)  # errors that are an answer to who somebody is
_encode = msgspec.json.Encoder().encode


class _Order(msgspec.Struct):
    symbol: str | None = None


class _Data(msgspec.Struct):
    status: str = ""
    action: str = ""
    code: int = 0
    streams: list[str] = []
    through: int = 0
    missing: dict[str, str] = {}
    error_message: str = ""
    timestamp: str | None = None
    order: _Order | None = None


class _Incoming(msgspec.Struct):
    stream: str = ""
    action: str = ""
    data: _Data = msgspec.field(default_factory=_Data)


class _Wish(msgspec.Struct):
    key_id: str = ""
    secret_key: str = ""
    streams: list[str] = []
    since: str | int | None = None
    backfilled: bool | None = None


class _Outgoing(msgspec.Struct):
    action: str
    key: str = ""
    secret: str = ""
    data: _Wish = msgspec.field(default_factory=_Wish)


_incoming = msgspec.json.Decoder(_Incoming)
_outgoing = msgspec.json.Decoder(_Outgoing)
_outgoing_msgpack = msgspec.msgpack.Decoder(_Outgoing)
CONNECTED = b'[{"T":"success","msg":"connected"}]'  # what a trading server does not say


# Towards Alpaca


def from_upstream(payload: bytes) -> bytes:
    """One frame of Alpaca's as one of the market data's. Raises ProtocolError."""
    try:
        found = _incoming.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from error
    data = found.data
    match found.stream:
        case "trade_updates":
            return b"[%b]" % message(payload, data.order.symbol if data.order else None, data.timestamp)
        case "authorization" if data.status == "authorized":
            told: dict[str, Any] = {"T": "success", "msg": "authenticated"}
        case "authorization":
            code = data.code or (401 if data.action == "listen" else 402)
            told = {"T": "error", "code": code, "msg": ERRORS.get(code, data.status)}
        case "listening":
            told = {"T": "subscription", TRADE_UPDATES: ["*"] if TRADE_UPDATES in data.streams else []}
        case "replaying":
            told = {"T": "success", "msg": "replaying"}
        case "replayed":
            told = {"T": "success", "msg": "replayed", "through": data.through}
            if data.missing:
                told["missing"] = data.missing
        case _ if found.action == "error":
            told = {"T": "error", "code": data.code or 500, "msg": data.error_message}
        case _:
            raise ProtocolError(f"an unknown stream: {found.stream[:50]}")
    return _encode([told])


def message(payload: bytes, symbol: str | None, timestamp: str | None) -> bytes:
    """An update as it is kept."""
    time = b',"t":%b' % _encode(timestamp) if timestamp else b""
    return b'{"T":"trade_updates","S":%b%b,%b' % (_encode(symbol or ""), time, payload.strip()[1:].lstrip())


def to_upstream(asked: dict[str, Any]) -> dict[str, Any]:
    """A request of the market data's as one of the trading protocol."""
    match asked["action"]:
        case "subscribe":
            return {"action": "listen", "data": {"streams": [TRADE_UPDATES]}}
        case "unsubscribe":
            return {"action": "listen", "data": {"streams": []}}
        case "replay":
            return {"action": "replay", "data": {"since": asked["since"], "backfilled": asked["backfilled"]}}
        case _:
            return asked


# Towards clients


def request(payload: bytes, *, msgpack: bool) -> Request:
    """What a client asks, as a request of the market data's. Raises ProtocolError."""
    try:
        found = (_outgoing_msgpack if msgpack else _outgoing).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(str(error)) from error
    match found.action:
        case "auth" | "authenticate":
            return Request("auth", found.key or found.data.key_id, found.secret or found.data.secret_key)
        case "listen":
            # The whole of what is listened to, not a change of it.
            action = "subscribe" if TRADE_UPDATES in found.data.streams else "unsubscribe"
            return Request(action, trade_updates=["*"])
        case "replay":
            data = found.data
            return Request("replay", trade_updates=["*"], since=data.since, backfilled=data.backfilled)
        case _:
            return Request(found.action)


def to_client(told: dict[str, Any]) -> dict[str, Any] | None:
    """A control message as one of the trading protocol; None for what that does not have."""
    match told:
        case {"T": "success", "msg": "authenticated"}:
            return _stream("authorization", status="authorized", action="authenticate")
        case {"T": "success", "msg": "replaying"}:
            return _stream("replaying")
        case {"T": "success", "msg": "replayed", "through": through, **rest}:
            return _stream("replayed", through=through, **{name: rest[name] for name in ("missing",) if name in rest})
        case {"T": "subscription"}:
            return _stream("listening", streams=[TRADE_UPDATES] if told.get(TRADE_UPDATES) else [])
        case {"T": "error", "code": 409}:
            return _stream("listening", streams=[])  # a stream that cannot be had is left out of the answer
        case {"T": "error", "code": code, "msg": text} if code in _UNHEARD:
            action = "listen" if code == 401 else "authenticate"
            return _stream("authorization", status="unauthorized", action=action, code=code, message=text)
        case {"T": "error", "code": code, "msg": text}:
            return {"action": "error", "data": {"error_message": text, "code": code}}
        case _:
            return None


def _stream(name: str, **data: Any) -> dict[str, Any]:
    return {"stream": name, "data": data}


def update(raw: bytes) -> bytes:
    """A kept update as Alpaca sends it."""
    return _PREFIX.sub(b"{", raw, count=1)
