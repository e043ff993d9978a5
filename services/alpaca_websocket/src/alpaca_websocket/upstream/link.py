# SPDX-License-Identifier: GPL-3.0-or-later
"""One WebSocket connection to the upstream."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import Any

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)

from .. import protocol
from ..settings import Upstream
from ..websocket import OFFER, Assembler, FrameError, agreed
from .policy import Act, Decision, on_handshake

# Under load, what has come while clients were written to is taken in one go, and so leaves in fewer and larger writes.
_READ_AT_ONCE = 1 << 20
_LARGEST = 16 * 2**20  # bytes of a message

# Payload, whether it is msgpack, when it was received.
OnPayload = Callable[[bytes, bool, int], None]


class LinkError(Exception):
    """No connection came about."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.reason)
        self.decision = decision


class Link(WSListener):
    def __init__(self, on_payload: OnPayload, msgpack: bool) -> None:
        super().__init__()
        self._on_payload = on_payload
        self._msgpack = msgpack
        self._assembler = Assembler(limit=_LARGEST)
        self._transport: WSTransport | None = None
        self.closed = asyncio.get_running_loop().create_future()
        """Done with the reason once the connection is gone."""
        self._reason = "the connection was lost"

    def send(self, message: dict[str, Any]) -> None:
        """Sends one request."""
        if self._transport is not None:
            payload = protocol.encode_request(message, msgpack=self._msgpack)
            self._transport.send(WSMsgType.BINARY if self._msgpack else WSMsgType.TEXT, payload)

    def close(self) -> None:
        """Says good-bye so that the other side frees our place at once, and leaves."""
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.send_close(WSCloseCode.OK)
            self._transport.disconnect()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        extensions = ", ".join(transport.response.headers.getall("Sec-WebSocket-Extensions", []))
        self._assembler = Assembler(limit=_LARGEST, deflate=agreed(extensions))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = time.time_ns()
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._reason = (
                f"closed by the other side: {frame.get_close_code()} {frame.get_close_reason() or ''}".rstrip()
            )
            with contextlib.suppress(ValueError):
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if kind in (WSMsgType.PING, WSMsgType.PONG):
            return
        try:
            whole = self._assembler.add(frame)
        except FrameError as error:
            self._reason = f"a broken frame: {error}"
            transport.send_close(WSCloseCode(error.code))
            transport.disconnect()
            return
        if whole is not None:
            self._on_payload(whole[1], whole[0] == WSMsgType.BINARY, now)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(self._reason)


def _trusting(settings: Upstream) -> ssl.SSLContext | None:
    if not settings.url.startswith("wss:"):
        return None
    return ssl.create_default_context(cafile=settings.ca_file or None)


async def connect(settings: Upstream, on_payload: OnPayload, make: type[Link] = Link) -> Link:
    """:param make: the kind of link. Raises LinkError."""
    msgpack = settings.format == "msgpack"
    headers = {"Content-Type": "application/msgpack"} if msgpack else {}
    if settings.compression:
        headers["Sec-WebSocket-Extensions"] = OFFER

    def listener(_request: WSUpgradeRequest, _response: WSUpgradeResponse) -> Link:
        return make(on_payload, msgpack)

    try:
        async with asyncio.timeout(settings.connect_timeout):
            _transport, link = await ws_connect(
                listener,
                settings.url,
                ssl_context=_trusting(settings),
                extra_headers=headers,
                max_frame_size=_LARGEST,
                read_buffer_init_size=_READ_AT_ONCE,
                websocket_handshake_timeout=settings.connect_timeout,
                enable_auto_ping=True,
                auto_ping_idle_timeout=settings.ping_seconds,
                auto_ping_reply_timeout=settings.ping_seconds,
                auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            )
    except WSHandshakeError as error:
        response = error.response
        if response is not None and int(response.status) != 101:
            raise LinkError(on_handshake(int(response.status), response.status.phrase)) from error
        raise LinkError(Decision(Act.BACK_OFF, f"the handshake failed: {error}")) from error
    except TimeoutError as error:
        raise LinkError(Decision(Act.BACK_OFF, "no answer to the handshake in time")) from error
    except (OSError, FrameError) as error:
        raise LinkError(Decision(Act.BACK_OFF, f"no connection: {error}")) from error
    assert isinstance(link, Link)
    return link
