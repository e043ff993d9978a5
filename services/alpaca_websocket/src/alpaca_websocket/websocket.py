# SPDX-License-Identifier: GPL-3.0-or-later
"""What picows leaves to its user: fragments put together, and permessage-deflate (RFC 7692).

We send without context takeover: a frame is compressed once and sent to many. A peer may keep its context.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from picows import WSFrame, WSMsgType

# Bytes before a payload in a bytearray, in which picows writes the frame's header; so it copies nothing.
HEADROOM = 14
_TAIL = b"\x00\x00\xff\xff"
_COMPRESS_FROM = 64  # bytes; below that, compression makes it longer
_PER_FRAGMENT = 64  # bytes that keeping a fragment costs


class FrameError(Exception):
    """The peer broke RFC 6455 or 7692, or its message is too large; `code` is the close code to answer with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gathered(NamedTuple):
    """A whole message, as it was sent."""

    kind: WSMsgType
    payload: bytes
    compressed: bool


class Deflate(NamedTuple):
    """An accepted offer, on the server's side."""

    header: str
    """The `Sec-WebSocket-Extensions` to answer."""
    bits: int
    """The window that our frames may use."""
    peer_bits: int
    """The window that the peer keeps from message to message; 0: none, each of its messages stands alone."""


# What a client of ours offers.
OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
_WINDOWS = {str(bits): bits for bits in range(8, 16)}
_SMALLEST = 9  # zlib cannot make a window of 8 bits


def negotiate(offers: str) -> Deflate | None:
    """The first offer of permessage-deflate that can be met, of a client's `Sec-WebSocket-Extensions`.

    Only parameters that were offered are answered: some clients refuse others, although RFC 7692 would allow them.
    """
    for offer in offers.split(","):
        name, *rest = (part.strip() for part in offer.split(";"))
        if name.lower() == "permessage-deflate" and (met := _meet([part.partition("=") for part in rest])):
            return met
    return None


def _meet(parameters: list[tuple[str, str, str]]) -> Deflate | None:
    offered = {name.strip(): value.strip(' "') for name, _, value in parameters}
    server, client = offered.pop("server_max_window_bits", "15"), offered.pop("client_max_window_bits", None)
    plain = ("server_no_context_takeover", "client_no_context_takeover")
    answered = [name for name in plain if offered.get(name) == ""]
    bits, peer_bits = _WINDOWS.get(server, 0), _WINDOWS.get(client or "15", 0)
    if offered.keys() - set(answered) or bits < _SMALLEST or not peer_bits:
        return None
    if bits < 15:
        answered.append(f"server_max_window_bits={bits}")
    if "client_no_context_takeover" in answered:
        peer_bits = 0
    elif client is not None and peer_bits > _SMALLEST:
        # What the peer keeps, we keep as well: the smaller, the less a connection costs.
        peer_bits = _SMALLEST
        answered.append(f"client_max_window_bits={peer_bits}")
    return Deflate("; ".join(("permessage-deflate", *answered)), bits, peer_bits)


def agreed(answer: str) -> bool:
    """Whether a server's `Sec-WebSocket-Extensions` accepts OFFER. Raises FrameError if it answers something else."""
    if not answer:
        return False
    name, *rest = (part.strip() for part in answer.split(";"))
    names = {part.partition("=")[0] for part in rest}
    if name != "permessage-deflate" or "server_no_context_takeover" not in names:
        raise FrameError(1010, f"the server answered an extension that was not offered: {answer}")
    return True


def deflate(payload: bytes | memoryview, bits: int = 15) -> bytes:
    """Compresses one message's payload."""
    engine = zlib.compressobj(zlib.Z_BEST_SPEED, zlib.DEFLATED, -bits)
    return (engine.compress(payload) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4]


def worth_deflating(size: int) -> bool:
    return size >= _COMPRESS_FROM


def inflate(payload: bytes, limit: int) -> bytes:
    """The other way; a message that would grow beyond `limit` bytes is refused before it is made."""
    return Inflater().inflate(payload, limit)


class Inflater:
    """Inflates one connection's messages, with the window that its peer keeps, if any."""

    __slots__ = ("_bits", "_engine")

    def __init__(self, peer_bits: int = 0) -> None:
        self._bits = max(peer_bits, _SMALLEST) if peer_bits else 0
        self._engine: zlib._Decompress | None = None

    def inflate(self, payload: bytes, limit: int) -> bytes:
        """Raises FrameError, after which the connection's later messages cannot be read."""
        engine = self._engine or zlib.decompressobj(-(self._bits or 15))
        try:
            whole = engine.decompress(payload + _TAIL, limit + 1)
        except zlib.error as error:
            raise FrameError(1007, f"not deflated data: {error}") from error
        if len(whole) > limit:
            raise FrameError(1009, f"a message of more than {limit} bytes")
        # A peer may end its stream with a message; the next one then begins another.
        self._engine = engine if self._bits and not engine.eof else None
        return whole


class Assembler:
    """Makes messages of frames, one connection's."""

    __slots__ = ("_compressed", "_inflater", "_parts", "_size", "_type", "limit")

    def __init__(self, *, limit: int, deflate: bool = False, peer_bits: int = 0) -> None:
        """:param limit: bytes of the largest message that is accepted"""
        self.limit = limit
        self._inflater = Inflater(peer_bits) if deflate else None
        self._parts: list[bytes] | None = None
        self._size = 0
        self._type = WSMsgType.TEXT
        self._compressed = False

    def add(self, frame: WSFrame) -> tuple[WSMsgType, bytes] | None:
        """The message that this data frame completes: its type and payload. Raises FrameError."""
        whole = self.gather(frame)
        return whole and (whole.kind, self.open(whole))

    def gather(self, frame: WSFrame) -> Gathered | None:
        """The message that this data frame completes, still compressed if it came so. Raises FrameError."""
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.CONTINUATION:
            if self._parts is None:
                raise FrameError(1002, "a continuation without a first frame")
            if frame.rsv1:
                raise FrameError(1002, "a reserved bit on a continuation")
        else:
            if self._parts is not None:
                raise FrameError(1002, "a new message before the last one ended")
            if frame.rsv1 and self._inflater is None:
                raise FrameError(1002, "compressed, which was not negotiated")
            self._type, self._compressed = frame.msg_type, frame.rsv1
            if len(payload) > self.limit:
                raise FrameError(1009, f"a message of more than {self.limit} bytes")
            if frame.fin:
                return Gathered(self._type, payload, self._compressed)
            self._parts, self._size = [], 0
        self._parts.append(payload)
        # What each fragment costs beside its bytes counts as well, or a stream of empty ones would last for ever.
        self._size += len(payload) + _PER_FRAGMENT
        if self._size > self.limit:
            raise FrameError(1009, f"a message of more than {self.limit} bytes")
        if not frame.fin:
            return None
        whole, self._parts = b"".join(self._parts), None
        return Gathered(self._type, whole, self._compressed)

    def open(self, whole: Gathered) -> bytes:
        """Its payload; messages must be opened in their order. Raises FrameError."""
        if not whole.compressed or self._inflater is None:
            return whole.payload
        return self._inflater.inflate(whole.payload, self.limit)
