# SPDX-License-Identifier: GPL-3.0-or-later
"""One client's connection: what is sent, what may wait, and the end of those who do not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from .. import protocol
from ..observe.state import Client, State
from ..settings import Downstream
from ..websocket import HEADROOM, Assembler, Deflate, FrameError, deflate, worth_deflating

# Below this nothing is asked of the transport for each frame.
_QUIET_BYTES = 64 * 1024


class Connection(WSListener):
    """Frames in and out. What requests mean is decided by `handle`, given by the server."""

    def __init__(
        self,
        view: Client,
        state: State,
        settings: Downstream,
        agreed: Deflate | None,
        handle: Callable[[Connection, protocol.Request], None],
        opened: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        super().__init__()
        self.view = view
        self.msgpack = view.format == "msgpack"
        self.deflate_bits = agreed.bits if agreed else 0
        self._kind = WSMsgType.BINARY if self.msgpack else WSMsgType.TEXT
        self._state = state
        self._settings = settings
        self._handle, self._opened, self._closed = handle, opened, closed
        self._assembler = Assembler(
            limit=settings.max_request_bytes, deflate=agreed is not None, peer_bits=agreed.peer_bits if agreed else 0
        )
        self._transport: WSTransport | None = None
        self._buffered: Callable[[], int] = lambda: 0
        self._congested = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self.offered: tuple[str, str] | None = None  # key and secret, where the handshake's headers have them
        # While a replay runs, what arrives meanwhile waits here: frame, compressed, messages.
        self._held: list[tuple[bytearray, bool, int]] | None = None
        self._held_bytes = 0
        self._held_over = False

    # What the router and the server do

    def deliver(self, frame: bytearray, compressed: bool, count: int) -> None:
        """Sends a frame of data, its payload behind HEADROOM, or cuts the client when more waits for it than it may."""
        if self._ending or self._transport is None:
            return
        if self._held is not None:
            self._hold(frame, compressed, count)
            return
        view, size = self.view, len(frame) - HEADROOM
        if self._congested:
            view.buffered = waiting = self._buffered()
            view.buffered_highest = max(view.buffered_highest, waiting)
            if waiting + size > self._settings.buffer_bytes:
                self._slow(count)
                return
        self._transport.send_reuse_external_bytearray(self._kind, frame, HEADROOM, True, compressed)
        view.delivered += count
        view.sent_bytes += size

    def send(self, payload: bytes, compressed: bool, count: int) -> None:
        """Sends a frame, whatever waits already."""
        if self._transport is None:
            return
        self._transport.send(self._kind, payload, True, compressed)
        self.view.delivered += count
        self.view.sent_bytes += len(payload)
        self._state.bytes_out += len(payload)

    def tell(self, *items: dict[str, Any]) -> None:
        """Sends control messages."""
        if self._transport is None or self._transport.is_close_frame_sent:
            return
        payload = protocol.encode(*items, msgpack=self.msgpack)
        compressed = bool(self.deflate_bits) and worth_deflating(len(payload))
        self.send(deflate(payload, self.deflate_bits) if compressed else payload, compressed, 0)

    def refuse(self, code: int, detail: str = "") -> None:
        """Answers an error."""
        self._state.client_errors[code] += 1
        self.tell(protocol.error(code, detail))

    def end(self, code: int, reason: str, *, at_once: bool = False) -> None:
        """Closes; what is buffered may still leave within the grace time, or is thrown away at once."""
        self._ending = True
        transport = self._transport
        if transport is None:
            return
        if at_once:
            transport.disconnect(graceful=False)
            return
        if not transport.is_close_frame_sent:
            transport.send_close(WSCloseCode(code), reason.encode()[:120])
        transport.disconnect(graceful=True)
        asyncio.get_running_loop().call_later(self._settings.slow_grace_seconds, transport.disconnect, False)

    async def drained(self) -> None:
        """Waits until the client has read enough for more to be sent."""
        await self._writable.wait()

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._ending

    # A replay

    def hold(self) -> None:
        """From here on live messages wait, until `release`."""
        self._held, self._held_bytes, self._held_over = [], 0, False

    @property
    def overheld(self) -> bool:
        """Whether more has waited than may; it was thrown away, and has to be replayed once more."""
        return self._held_over

    def release(self) -> None:
        """Sends what has waited."""
        held, self._held = self._held or [], None
        for frame, compressed, count in held:
            self.deliver(frame, compressed, count)

    def _hold(self, frame: bytearray, compressed: bool, count: int) -> None:
        assert self._held is not None
        if self._held_over:
            return
        self._held_bytes += len(frame) - HEADROOM
        if self._held_bytes > self._settings.buffer_bytes:
            self._held_over = True
            self._held.clear()
        else:
            self._held.append((frame, compressed, count))

    def _slow(self, count: int) -> None:
        self._ending = True
        self.view.slow = True
        self._state.dropped["slow client"] += count
        self._state.clients_cut += 1
        self._state.note(f"client {self.view.id} ({self.view.name}) is too slow and will be cut")
        self.refuse(407)
        if self._transport is not None:
            asyncio.get_running_loop().call_later(self._settings.slow_grace_seconds, self._transport.disconnect, False)

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        under = transport.underlying_transport
        under.set_write_buffer_limits(_QUIET_BYTES)
        self._buffered = under.get_write_buffer_size
        peer = under.get_extra_info("peername")
        self.view.address = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "")
        self._opened(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self._ending = True
        self._writable.set()
        self._closed(self)

    def pause_writing(self) -> None:
        self._congested = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._congested = False
        self._writable.set()
        self.view.buffered = 0
        if self.view.slow:  # it did read in the end, and knows by the 407 that it has lost something
            self.end(1008, "slow client")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            with contextlib.suppress(ValueError):
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if self._ending or kind in (WSMsgType.PING, WSMsgType.PONG):
            return
        try:
            whole = self._assembler.add(frame)
        except FrameError as error:
            self._state.note(f"client {self.view.id}: {error}")
            self.end(error.code, str(error))
            return
        if whole is None:
            return
        try:
            request = self._request(whole[1], whole[0] == WSMsgType.BINARY)
        except protocol.ProtocolError:
            self.refuse(400)
            return
        self._handle(self, request)

    def _request(self, payload: bytes, binary: bool) -> protocol.Request:
        """What was asked. Raises ProtocolError."""
        return protocol.request(payload, msgpack=binary)
