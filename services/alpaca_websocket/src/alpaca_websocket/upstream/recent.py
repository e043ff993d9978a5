# SPDX-License-Identifier: GPL-3.0-or-later
"""What came last, to tell what is fetched after a gap from what had come already."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from .. import protocol
from ..protocol import Message, Messages, time_ns

_MESSAGES = 50_000
_BARS = 20_000

# A bar is one by its symbol and minute; a trade by symbol, time, exchange and number.
Key = tuple[str, str, int, Any, Any]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def key(message: Message) -> Key | None:
    """What makes a bar or trade the same one, whether it came by stream or by REST; None for anything else."""
    if message.kind not in ("b", "t"):
        return None
    try:
        item = _decode(message.raw)
        moment = time_ns(item["t"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, UnicodeDecodeError):
        return None
    if message.kind == "b":
        return "b", message.symbol, moment, None, None
    return "t", message.symbol, moment, item.get("x"), item.get("i")


class Recent:
    """The last messages, in memory: their text only, which is read when there was a gap. Bars are rare and are kept for
    longer."""

    def __init__(self) -> None:
        self._texts: deque[tuple[bytes, int]] = deque()  # and how many messages they are
        self._count = 0
        self._bars: deque[Message] = deque(maxlen=_BARS)

    def add(self, messages: Messages) -> None:
        """On the hot path."""
        count = len(messages)
        self._texts.append((messages.text, count))
        self._count += count
        while self._count > _MESSAGES:
            self._count -= self._texts.popleft()[1]
        if "b" in messages.kinds:
            self._bars.extend([message for message in messages if message.kind == "b"])

    def keys(self) -> set[Key]:
        """Of all bars and trades that are remembered."""
        trades = [message for message in self._all() if message.kind == "t"]
        return {found for message in (*trades, *self._bars) if (found := key(message))}

    def raws(self) -> Counter[bytes]:
        """How often each message came."""
        return Counter(message.raw for message in self._all())

    def symbols(self) -> Counter[str]:
        """How often each symbol came."""
        return Counter(message.symbol for message in self._all())

    def _all(self) -> Iterable[Message]:
        for text, _count in self._texts:
            yield from protocol.split(b"[%b]" % text).data
