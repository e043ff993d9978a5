# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages as bytes: JSON with RFC 3339 times, msgpack with its timestamp extension, as Alpaca sends them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgpack

from .market import SECOND, Item


def rfc3339(ns: int) -> str:
    seconds, rest = divmod(ns, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}Z" if rest else f"{text}Z"


def plain(item: Item) -> Item:
    """With the time as text."""
    return {**item, "t": rfc3339(item["t"])} if isinstance(item.get("t"), int) else item


def encode(items: Sequence[Item], *, packed: bool) -> bytes:
    if not packed:
        return json.dumps([plain(item) for item in items], separators=(",", ":")).encode()
    return bytes(msgpack.packb([_timed(item) for item in items]))


def _timed(item: Item) -> Item:
    """With times as msgpack's own, those of news as well, which are text until then."""
    found = dict(item)
    if isinstance(item.get("t"), int):
        found["t"] = msgpack.Timestamp.from_unix_nano(item["t"])
    for name in ("created_at", "updated_at"):
        if isinstance(item.get(name), str):
            found[name] = msgpack.Timestamp.from_datetime(datetime.fromisoformat(item[name].replace("Z", "+00:00")))
    return found


def decode(payload: bytes | str, *, packed: bool) -> Any:
    return msgpack.unpackb(payload) if packed else json.loads(payload)
