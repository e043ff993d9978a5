# SPDX-License-Identifier: GPL-3.0-or-later
"""A client that speaks the trading protocol: an object for each frame, binary ones, never compressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from picows import WSMsgType

from .. import protocol, trading
from ..observe.state import Client, State
from ..settings import Downstream
from ..websocket import HEADROOM, Deflate
from .connection import Connection, Handler
from .turns import Turns

_decode = msgspec.json.Decoder().decode


class TradingConnection(Connection):
    """To the router and the server it is a client like others that gets JSON; it is translated here."""

    def __init__(
        self, view: Client, state: State, settings: Downstream, agreed: Deflate | None, turns: Turns, handler: Handler
    ) -> None:
        super().__init__(view, state, settings, agreed, turns, handler)
        self.backfilled = True  # a fill is no price: it matters however old it is
        self._packed, self.msgpack = self.msgpack, False
        self._kind = WSMsgType.BINARY  # JSON as well, as Alpaca does

    def deliver(self, frame: bytearray, compressed: bool, count: int) -> None:
        """Sends a frame of data; one that has waited while a replay ran is a single object already."""
        payload = bytes(memoryview(frame)[HEADROOM:])
        if not payload.startswith(b"["):
            super().deliver(frame, compressed, count)
            return
        for one in self._updates(payload):
            super().deliver(bytearray(HEADROOM) + one, False, 1)

    def send(self, payload: bytes, compressed: bool, count: int) -> None:
        """Sends a frame of what is replayed."""
        for one in self._updates(payload):
            self._send(one, False, 1)

    def told(self, *items: dict[str, Any]) -> list[tuple[bytes, bool]]:
        """Control messages, each an object of its own."""
        objects = filter(None, map(trading.to_client, items))
        return [(protocol.encode_request(each, msgpack=self._packed), False) for each in objects]

    def _updates(self, payload: bytes) -> Iterator[bytes]:
        for raw in protocol.split(payload).data.raws:
            update = trading.update(raw)
            yield msgspec.msgpack.encode(_decode(update)) if self._packed else update

    def _read(self, payload: bytes, binary: bool) -> protocol.Request:
        return trading.request(payload, msgpack=self._packed)
