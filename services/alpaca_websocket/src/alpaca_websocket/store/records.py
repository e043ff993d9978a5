# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal records: what arrived in one piece, framed so that a torn or foreign one can't be taken for whole.

A record is a header of 40 bytes, little-endian, and the messages' own JSON, joined by commas:

    magic "AWJ1" · CRC-32 of all that follows · payload bytes · messages · first sequence · received (ns since 1970)
    · highest sequence that was durable before

The last tells a torn write from damage: what a later record calls durable had been acknowledged. The CRC starts from
the segment's first sequence number: bytes that lay on the disk before can't pass for ours.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from alpaca_websocket.protocol import Message

MAGIC = b"AWJ1"
_HEADER = struct.Struct("<4sIIIQqQ")
_CHECKED = struct.Struct("<IIQqQ")  # the header from behind the CRC
_CHECKED_AT = 8


class Batch(NamedTuple):
    """Messages that arrived together; the first has the sequence number `first`, the next one more, and so on."""

    first: int
    received_ns: int
    messages: Sequence[Message]

    @property
    def last(self) -> int:
        return self.first + len(self.messages) - 1


class Record(NamedTuple):
    """A whole record as it lies in a segment, from byte `start` to byte `end`."""

    start: int
    end: int
    first: int
    rows: int
    received_ns: int
    durable: int
    payload: bytes

    @property
    def last(self) -> int:
        return self.first + self.rows - 1


def seed(first: int) -> int:
    return zlib.crc32(first.to_bytes(8, "little"))


def encode(batch: Batch, segment_seed: int, durable: int) -> bytes:
    """One record's bytes."""
    payload = b",".join([message.raw for message in batch.messages])
    checked = _CHECKED.pack(len(payload), len(batch.messages), batch.first, batch.received_ns, durable)
    crc = zlib.crc32(payload, zlib.crc32(checked, segment_seed))
    return b"".join((MAGIC, crc.to_bytes(4, "little"), checked, payload))


def scan(path: Path, first: int) -> Iterator[Record]:
    """The whole records of the segment that begins with sequence number `first`, in order.

    Damage is stepped over: the next record that proves itself goes on. Callers see it as a hole between `end` and
    the next `start`. Raises FileNotFoundError.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, start_crc, expected = 0, seed(first), first
            while (at := data.find(MAGIC, at)) >= 0:
                record = _record(data, at, start_crc)
                # Sequence numbers only rise; a record that repeats one is the remains of a failed write.
                if record is None or record.first < expected:
                    at += 1
                    continue
                yield record
                at, expected = record.end, record.last + 1


def _record(data: mmap.mmap, at: int, start_crc: int) -> Record | None:
    body = at + _HEADER.size
    if body > len(data):
        return None
    _, crc, length, rows, first, received_ns, durable = _HEADER.unpack_from(data, at)
    end = body + length
    if end > len(data):
        return None
    payload = data[body:end]
    if zlib.crc32(payload, zlib.crc32(data[at + _CHECKED_AT : body], start_crc)) != crc:
        return None
    return Record(at, end, first, rows, received_ns, durable, payload)


class _Identity(msgspec.Struct):
    T: str
    S: str = ""


_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_IDENTITIES = msgspec.json.Decoder(list[_Identity])


def raws(payload: bytes) -> list[bytes]:
    """The messages' own bytes."""
    return [bytes(raw) for raw in _RAWS.decode(b"[%b]" % payload)]


def messages(payload: bytes) -> list[Message]:
    """The messages of a record, as they were appended."""
    frame = b"[%b]" % payload
    pairs = zip(_RAWS.decode(frame), _IDENTITIES.decode(frame), strict=True)
    return [Message(identity.T, identity.S, bytes(raw)) for raw, identity in pairs]
