# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to Alpaca's trading protocol, as one to its market data."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from picows import WSTransport

from .. import trading
from ..protocol import ProtocolError
from .link import Link, OnPayload


class TradingLink(Link):
    def __init__(self, on_payload: OnPayload, msgpack: bool) -> None:
        super().__init__(self._translate, msgpack)
        self._pass_on = on_payload

    def send(self, message: dict[str, Any]) -> None:
        """Sends one request."""
        super().send(trading.to_upstream(message))

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._pass_on(trading.CONNECTED, False, time.time_ns())

    def _translate(self, payload: bytes, _binary: bool, now: int) -> None:
        """Binary frames hold JSON, too."""
        with contextlib.suppress(ProtocolError):  # who reads it finds that it is none, and counts it
            payload = trading.from_upstream(payload)
        self._pass_on(payload, False, now)
