# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a relay, many in one process, that count what they get and how old it is.

    clients.py ws|arrays|objects PORT COUNT SYMBOLS_EACH

Prints {"subscribed": COUNT} when all are; each line {"report": true} on standard input is answered with what came since
the last {"reset": true}. A delivery's latency is that of the oldest message in its frame, so it is never too low.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from functools import partial
from typing import Any, cast

import uvloop

from alpaca_websocket.observe.histogram import Histogram
from wire import PER_OBJECT, SIZE, SYMBOL_AT, age_ns, chosen


class Tally:
    def __init__(self) -> None:
        self.ready = 0
        self.lost = 0
        self.reset()

    def reset(self) -> None:
        self.latency = Histogram()
        self.frames = self.bytes = self.foreign = 0
        self.last = 0.0

    def add(self, payload: bytes, at: int, count: int) -> None:
        self.latency.record(age_ns(payload, at), count)
        self.frames += 1
        self.bytes += len(payload)
        self.last = time.perf_counter()

    def report(self) -> dict[str, Any]:
        p50, p99, p999, worst = (value / 1e6 for value in self.latency.percentiles((0.5, 0.99, 0.999, 1.0)))
        return {
            "deliveries": self.latency.count, "frames": self.frames, "bytes": self.bytes, "foreign": self.foreign,
            "lost": self.lost, "p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": worst,
        }  # fmt: skip


class WebSocketClient(asyncio.Protocol):
    """As little WebSocket as the relays need, so that a frame costs this process what a piece of bare TCP does."""

    def __init__(self, symbols: list[str], tally: Tally) -> None:
        self._symbols, self._tally = symbols, tally
        self._mine = {symbol.encode() for symbol in symbols}
        self._upgraded = False
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._transport.write(
            b"GET /v2/iex HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % base64.b64encode(bytes(16))
        )

    def connection_lost(self, _error: Exception | None) -> None:
        self._tally.lost += 1

    def _send(self, opcode: int, payload: bytes) -> None:
        length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
        self._transport.write(bytes((0x80 | opcode,)) + length + bytes(4) + payload)  # a mask of zeros changes nothing

    def _ask(self, **asked: Any) -> None:
        self._send(1, json.dumps(asked).encode())

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at = 0
        if not self._upgraded:
            head, end, _ = data.partition(b"\r\n\r\n")
            if end:
                assert head.startswith(b"HTTP/1.1 101"), head
                self._upgraded, at = True, len(head) + len(end)
                self._ask(action="auth", key="bench", secret="bench")  # noqa: S106 - there is nothing to protect
        while self._upgraded and len(data) - at >= 2:
            size, begin = data[at + 1], at + 2
            if size == 126:
                size, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if len(data) < begin + size:
                break
            self._frame(data[at], data[begin : begin + size])
            at = begin + size
        self._rest = data[at:]

    def _frame(self, first: int, payload: bytes) -> None:
        if payload.startswith((b'[{"T":"t"', b'[{"T":"q"')):
            self._tally.add(payload, 1, len(payload) // PER_OBJECT)
            self._tally.foreign += payload[1 + SYMBOL_AT.start : 1 + SYMBOL_AT.stop] not in self._mine
        elif first == 0x89:
            self._send(10, payload)
        elif first == 0x81:
            for item in json.loads(payload):
                if item.get("msg") == "authenticated":
                    self._ask(action="subscribe", trades=self._symbols, quotes=self._symbols)
                elif item["T"] == "subscription":
                    self._tally.ready += 1
                elif item["T"] == "error":
                    print(item, file=sys.stderr, flush=True)
        else:
            assert first == 0x88, f"a frame that no relay sends: {first:#x}"


class BareClient(asyncio.Protocol):
    def __init__(self, symbols: list[str], tally: Tally) -> None:
        self._symbols, self._tally = symbols, tally
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(json.dumps(self._symbols).encode() + b"\n")
        self._tally.ready += 1

    def connection_lost(self, _error: Exception | None) -> None:
        self._tally.lost += 1

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        count, rest = divmod(len(data), SIZE + 1)
        self._rest = data[-rest:] if rest else b""
        if count:
            self._tally.add(data, 0, count)


async def doze() -> None:
    """Look at the sockets once in half a millisecond only, so that two hundred clients leave their core time to spare.

    It adds as much to every contender's latency; without it the load, not the relay, would be the limit.
    """
    while True:
        time.sleep(0.0005)
        await asyncio.sleep(0)


async def main(kind: str, port: int, count: int, each: int) -> None:
    loop = asyncio.get_running_loop()
    tally = Tally()
    client = WebSocketClient if kind == "ws" else BareClient
    for number in range(count):
        await loop.create_connection(partial(client, chosen(number, each), tally), "127.0.0.1", port)
    while tally.ready < count:
        await asyncio.sleep(0.01)
    print(json.dumps({"subscribed": count}), flush=True)
    dozing = asyncio.create_task(doze())
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        asked = json.loads(line)
        print(json.dumps(tally.report()), flush=True)
        if asked.get("reset"):
            tally.reset()
    dozing.cancel()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
