# SPDX-License-Identifier: GPL-3.0-or-later
"""What picows leaves to its user: fragments put together, and permessage-deflate (RFC 7692).

Both sides go without context takeover: a frame is compressed once and sent to many, and a connection costs no window.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from picows import WSFrame, WSMsgType

# Bytes before a payload in a bytearray, in which picows writes the frame's header; so it copies nothing.
HEADROOM = 14
_TAIL = b"\x00\x00\xff\xff"
_COMPRESS_FROM = 64  # bytes; below that, compression makes it longer


class FrameError(Exception):
    """The peer broke RFC 6455 or 7692, or its message is too large; `code` is the close code to answer with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Deflate(NamedTuple):
    """An accepted offer: the `Sec-WebSocket-Extensions` to answer, and the window that our frames may use."""

    header: str
    bits: int


# What a client of ours offers.
OFFER = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def negotiate(offers: str) -> Deflate | None:
    """The first offer of permessage-deflate that can be met, of a client's `Sec-WebSocket-Extensions`."""
    for offer in offers.split(","):
        name, *rest = (part.strip() for part in offer.split(";"))
        if name.lower() != "permessage-deflate":
            continue
        parameters = dict((part.partition("=")[0].strip(), part.partition("=")[2].strip(' "')) for part in rest)
        bits = parameters.get("server_max_window_bits")
        known = {
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
        }
        # zlib cannot make a window of 8 bits; such an offer is left alone.
        if not parameters.keys() <= known or (bits is not None and bits not in {str(n) for n in range(9, 16)}):
            continue
        header = OFFER + (f"; server_max_window_bits={bits}" if bits else "")
        return Deflate(header, int(bits or 15))
    return None


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
    engine = zlib.decompressobj(-15)
    try:
        whole = engine.decompress(payload + _TAIL, limit + 1)
    except zlib.error as error:
        raise FrameError(1007, f"not deflated data: {error}") from error
    if len(whole) > limit:
        raise FrameError(1009, f"a message of more than {limit} bytes")
    return whole


class Assembler:
    """Makes messages of frames, one connection's."""

    __slots__ = ("_compressed", "_deflate", "_limit", "_parts", "_size", "_type")

    def __init__(self, *, limit: int, deflate: bool = False) -> None:
        """:param limit: bytes of the largest message that is accepted"""
        self._limit = limit
        self._deflate = deflate
        self._parts: list[bytes] | None = None
        self._size = 0
        self._type = WSMsgType.TEXT
        self._compressed = False

    def add(self, frame: WSFrame) -> tuple[WSMsgType, bytes] | None:
        """The message that this data frame completes: its type and payload. Raises FrameError."""
        payload = frame.get_payload_as_bytes()
        if frame.msg_type == WSMsgType.CONTINUATION:
            if self._parts is None:
                raise FrameError(1002, "a continuation of nothing")
            if frame.rsv1:
                raise FrameError(1002, "a reserved bit on a continuation")
        else:
            if self._parts is not None:
                raise FrameError(1002, "a new message within another")
            if frame.rsv1 and not self._deflate:
                raise FrameError(1002, "compressed without agreement")
            if frame.fin:
                return frame.msg_type, inflate(payload, self._limit) if frame.rsv1 else payload
            self._parts, self._size = [], 0
            self._type, self._compressed = frame.msg_type, frame.rsv1
        self._parts.append(payload)
        # The byte for each frame keeps a stream of empty ones from lasting for ever.
        self._size += len(payload) + 1
        if self._size > self._limit:
            raise FrameError(1009, f"a message of more than {self._limit} bytes")
        if not frame.fin:
            return None
        whole, self._parts = b"".join(self._parts), None
        return self._type, inflate(whole, self._limit) if self._compressed else whole
