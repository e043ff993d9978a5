# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol of one connection, as picows makes it, bounded for as long as the client has not authenticated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import cast

from picows import WSAutoPingStrategy, WSListener, WSUpgradeRequest, WSUpgradeResponseWithListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # the stubs leave it out

from ..settings import Downstream
from .door import Place

_READ_BYTES = 4096  # at first; it grows with what is read at once
# What may be sent before authentication, in all. Real clients send a few hundred bytes.
_EARLY_BYTES = 8 * 1024
_log = logging.getLogger("picows.server")

Accept = Callable[[Place, WSUpgradeRequest], WSListener | WSUpgradeResponseWithListener | None]


class Wire(WSProtocol):
    def __init__(self, place: Place, settings: Downstream, accept: Accept) -> None:
        super().__init__(
            None,
            None,
            False,  # this is the server's side
            partial(accept, place),
            _log,
            True,  # disconnect on an exception
            settings.auth_timeout,
            True,  # ping
            settings.ping_seconds,
            settings.ping_seconds,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # pongs are ours: they count for the buffer
            settings.max_request_bytes,
            None,
            _READ_BYTES,
        )
        self._place = place
        self._early = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._place.abort = cast(asyncio.Transport, transport).abort
        super().connection_made(transport)

    def buffer_updated(self, size: int) -> None:
        if not self._place.admitted:
            self._early += size
            if self._early > _EARLY_BYTES:
                self._place.too_much()
                return
        super().buffer_updated(size)

    def connection_lost(self, problem: Exception | None) -> None:
        super().connection_lost(problem)
        self._place.leave()
