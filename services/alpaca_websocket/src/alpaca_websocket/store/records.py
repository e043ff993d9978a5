# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal records: what was committed together, framed so that a torn or foreign one can't be taken for whole.

A record is a header of 36 bytes, little-endian; a table of when how many messages came; and the messages' own JSON,
joined by commas:

    magic "AWJ1" · CRC-32 of all that follows · bytes after the header · messages · first sequence
    · highest sequence that was durable before · rows of the table
    received (ns since 1970) · messages                                                          (64 bits each)

What a later record calls durable had been acknowledged; that tells a torn write from damage. The CRC starts from the
segment's first sequence number: bytes that lay on the disk before can't pass for ours.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from alpaca_websocket import protocol
from alpaca_websocket.protocol import Messages

MAGIC = b"AWJ1"
_HEADER = struct.Struct("<4sIIIQQI")
_CHECKED = struct.Struct("<IIQQI")  # the header from behind the CRC
_CHECKED_AT = 8


class Batch(NamedTuple):
    """The text of messages that arrived together; the first has the sequence number `first`, the next one more, …"""

    first: int
    received_ns: int
    rows: int
    text: bytes

    @property
    def last(self) -> int:
        return self.first + self.rows - 1


class Arrival(NamedTuple):
    """How many messages came at once, and when (ns since 1970)."""

    received_ns: int
    rows: int


class Record(NamedTuple):
    """A whole record as it lies in a segment, from byte `start` to byte `end`."""

    start: int
    end: int
    first: int
    rows: int
    durable: int
    arrivals: list[Arrival]
    payload: bytes

    @property
    def last(self) -> int:
        return self.first + self.rows - 1

    def received(self) -> list[int]:
        """When each message came."""
        return [received_ns for received_ns, rows in self.arrivals for _ in range(rows)]


def seed(first: int) -> int:
    return zlib.crc32(first.to_bytes(8, "little"))


def encode(batches: Sequence[Batch], segment_seed: int, durable: int) -> list[bytes]:
    """One record's bytes, in pieces: its messages are not copied.

    The checksum is made piece by piece: for a long one zlib lets the interpreter go, and to get it back from a busy
    event loop takes milliseconds (`sys.getswitchinterval`).
    """
    arrivals = [number for batch in batches for number in (batch.received_ns, batch.rows)]
    table = struct.pack(f"<{len(arrivals)}q", *arrivals)
    pieces = [piece for batch in batches for piece in (b",", batch.text)]
    pieces[0] = b""
    rows = batches[-1].last + 1 - batches[0].first
    checked = _CHECKED.pack(len(table) + sum(map(len, pieces)), rows, batches[0].first, durable, len(batches))
    crc = zlib.crc32(checked + table, segment_seed)
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
    pieces[0] = MAGIC + crc.to_bytes(4, "little") + checked + table
    return pieces


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
    start = at + _HEADER.size
    if start > len(data):
        return None
    _, crc, length, rows, first, durable, batches = _HEADER.unpack_from(data, at)
    end = start + length
    if end > len(data):
        return None
    body = data[start:end]
    if zlib.crc32(body, zlib.crc32(data[at + _CHECKED_AT : start], start_crc)) != crc:
        return None
    numbers = struct.unpack_from(f"<{2 * batches}q", body)
    arrivals = list(map(Arrival, numbers[::2], numbers[1::2]))
    return Record(at, end, first, rows, durable, arrivals, body[16 * batches :])


def messages(payload: bytes) -> Messages:
    """The messages of a record, as they were appended."""
    return protocol.split(b"[%b]" % payload).data
