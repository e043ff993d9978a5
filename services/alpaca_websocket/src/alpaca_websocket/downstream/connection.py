# SPDX-License-Identifier: GPL-3.0-or-later
"""One client's connection: what is sent, what may wait, and the end of those who do not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from .. import protocol
from ..observe.state import Client, State
from ..settings import Downstream
from ..websocket import HEADROOM, Assembler, Deflate, FrameError, Gathered, deflate, worth_deflating
from .turns import Turns

# Below this nothing is asked of the transport for each frame.
_QUIET_BYTES = 64 * 1024
_EARLY_MESSAGE = 4 * 1024  # of who has not authenticated
# More than this, and nothing is read of a connection until what it asked is worked off.
_FRAMES_AT_ONCE = 64
_WAITING_BYTES = 64 * 1024


class Handler(Protocol):
    """Who is told of connections and of their requests."""

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...

    def handle(self, connection: Connection, request: protocol.Request) -> None: ...

    def senseless(self, connection: Connection) -> None:
        """What came is no request."""


class Connection(WSListener):
    """Frames in and out. What requests mean is decided by `handler`.

    What it may cost is bounded: what arrives waits for its turn, and what is written counts for the buffer, whatever it
    is.
    """

    def __init__(
        self, view: Client, state: State, settings: Downstream, agreed: Deflate | None, turns: Turns, handler: Handler
    ) -> None:
        super().__init__()
        self.view = view
        self.msgpack = view.format == "msgpack"
        self.deflate_bits = agreed.bits if agreed else 0
        self.backfilled = settings.deliver_backfilled
        self.authenticated = False
        self._kind = WSMsgType.BINARY if self.msgpack else WSMsgType.TEXT
        self._state = state
        self._settings = settings
        self._turns, self._handler = turns, handler
        self._assembler = Assembler(
            limit=min(_EARLY_MESSAGE, settings.max_request_bytes),
            deflate=agreed is not None,
            peer_bits=agreed.peer_bits if agreed else 0,
        )
        self._transport: WSTransport | None = None
        self._buffered: Callable[[], int] = lambda: 0
        self._congested = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ending = False
        self.offered: tuple[str, str] | None = None  # key and secret, where the handshake's headers have them
        # What has arrived and waits for its turn.
        self._arrived: deque[Gathered] = deque()
        self._arrived_bytes = 0
        self._frames = 0  # since its last turn
        self._queued = False
        self._stopped = False  # nothing is read
        self._ping: bytes | None = None  # the last one that is not answered yet
        # While a replay runs, what arrives meanwhile waits here: frame, compressed, messages.
        self._held: list[tuple[bytearray, bool, int]] | None = None
        self._held_bytes = 0
        self._held_over = False

    def admit(self) -> None:
        """It is authenticated, and may ask for more."""
        self.authenticated = True
        self._assembler.limit = self._settings.max_request_bytes

    # What the router and the server do

    def deliver(self, frame: bytearray, compressed: bool, count: int) -> None:
        """Sends a frame of data, its payload behind HEADROOM, or cuts the client when more waits for it than it may."""
        if self._ending or self._transport is None:
            return
        if self._held is not None:
            self._hold(frame, compressed, count)
            return
        view, size = self.view, len(frame) - HEADROOM
        if self._congested and not self._fits(size, count):
            return
        self._transport.send_reuse_external_bytearray(self._kind, frame, HEADROOM, True, compressed)
        view.delivered += count
        view.sent_bytes += size

    def send(self, payload: bytes, compressed: bool, count: int) -> None:
        """Sends a frame, or cuts the client when more waits for it than it may."""
        self._send(payload, compressed, count)

    def _send(self, payload: bytes, compressed: bool, count: int) -> None:
        if self._transport is not None and not self._ending and self._fits(len(payload), count):
            self._write(payload, compressed, count)

    def _write(self, payload: bytes, compressed: bool, count: int) -> None:
        if self._transport is None:
            return
        self._transport.send(self._kind, payload, True, compressed)
        self.view.delivered += count
        self.view.sent_bytes += len(payload)
        self._state.bytes_out += len(payload)

    def _fits(self, size: int, count: int) -> bool:
        if self._congested:
            view = self.view
            view.buffered = waiting = self._buffered()
            view.buffered_highest = max(view.buffered_highest, waiting)
            if waiting + size > self._settings.buffer_bytes:
                self._slow(count)
                return False
        return True

    def tell(self, *items: dict[str, Any]) -> None:
        """Sends control messages."""
        self.say(self.told(*items))

    def told(self, *items: dict[str, Any]) -> list[tuple[bytes, bool]]:
        """Control messages as `say` takes them: payloads, and whether they are compressed."""
        payload = protocol.encode(*items, msgpack=self.msgpack)
        if self.deflate_bits and worth_deflating(len(payload)):
            return [(deflate(payload, self.deflate_bits), True)]
        return [(payload, False)]

    def say(self, told: list[tuple[bytes, bool]]) -> None:
        """Sends control messages that are kept ready."""
        for payload, compressed in told:
            self._send(payload, compressed, 0)

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
        self._state.client_errors[407] += 1
        for payload, compressed in self.told(protocol.error(407)):
            self._write(payload, compressed, 0)
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
        self._handler.opened(self)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        self._ending = True
        self._arrived.clear()
        self._writable.set()
        self._handler.closed(self)

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
            self._ending = True
            with contextlib.suppress(ValueError):
                transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if self._ending:
            return
        self._frames += 1
        if kind == WSMsgType.PING:
            # Of several that came at once, RFC 6455 lets the last one stand for all.
            self._ping = frame.get_payload_as_bytes()
        elif kind != WSMsgType.PONG:
            try:
                whole = self._assembler.gather(frame)
            except FrameError as error:
                self._broken(error)
                return
            if whole is not None:
                self._arrived.append(whole)
                self._arrived_bytes += len(whole.payload)
        if frame.last_in_buffer and self._ping is not None:
            self._pong(self._ping)
        much = self._frames > _FRAMES_AT_ONCE or self._arrived_bytes > _WAITING_BYTES
        if much and not self._stopped:
            self._stopped = True
            transport.underlying_transport.pause_reading()
        if (self._arrived or self._stopped) and not self._queued:
            self._queued = True
            self._turns.add(self)

    def _pong(self, payload: bytes) -> None:
        self._ping = None
        if self._transport is not None and self._fits(len(payload), 0):
            self._transport.send_pong(payload)

    def work(self) -> bool:
        """Handles one message of those that wait; returns whether there are more."""
        if self._arrived and not self._ending:
            whole = self._arrived.popleft()
            self._arrived_bytes -= len(whole.payload)
            try:
                self._request(self._assembler.open(whole), whole.kind)
            except FrameError as error:
                self._broken(error)
        if self._arrived and not self._ending:
            return True
        self._queued = False
        self._frames = 0
        if self._stopped and self._transport is not None:
            self._stopped = False
            self._transport.underlying_transport.resume_reading()
        return False

    def _request(self, payload: bytes, kind: WSMsgType) -> None:
        try:
            self._handler.handle(self, self._read(payload, kind == WSMsgType.BINARY))
        except protocol.ProtocolError:
            self._handler.senseless(self)

    def _read(self, payload: bytes, binary: bool) -> protocol.Request:
        """What was asked. Raises ProtocolError."""
        return protocol.request(payload, msgpack=binary)

    def _broken(self, error: FrameError) -> None:
        self._state.client_errors[error.code] += 1
        self._state.note(f"client {self.view.id}: {error}")
        self.end(error.code, str(error))
