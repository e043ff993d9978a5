# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of a relay, many in one process, that count what they get and how old it is.

    clients.py ws|arrays|objects PORT COUNT SYMBOLS_EACH

Prints {"subscribed": COUNT} when all are; each line {"report": true} on standard input is answered with what came since
the last {"reset": true}. A delivery's latency is that of the oldest message in its frame, so it is never too low.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any, cast

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

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


class WebSocketClient(WSListener):
    def __init__(self, number: int, symbols: list[str], tally: Tally) -> None:
        super().__init__()
        self._number, self._symbols, self._tally = number, symbols, tally
        self._mine = {symbol.encode() for symbol in symbols}

    def _ask(self, **asked: Any) -> None:
        self.transport.send(WSMsgType.TEXT, json.dumps(asked).encode())

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        # picows asks for an acknowledgement of every segment at once; other clients, the bare ones among them, don't.
        sock = transport.underlying_transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        self._ask(action="auth", key="bench", secret="bench")  # noqa: S106 - there is nothing to protect

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._tally.lost += 1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if payload.startswith((b'[{"T":"t"', b'[{"T":"q"')):
            self._tally.add(payload, 1, len(payload) // PER_OBJECT)
            self._tally.foreign += payload[1 + SYMBOL_AT.start : 1 + SYMBOL_AT.stop] not in self._mine
            return
        for item in json.loads(payload):
            if item.get("msg") == "authenticated":
                self._ask(action="subscribe", trades=self._symbols, quotes=self._symbols)
            elif item["T"] == "subscription":
                self._tally.ready += 1
            elif item["T"] == "error":
                print(item, file=sys.stderr, flush=True)


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
    kept: list[object] = []
    for number in range(count):
        symbols = chosen(number, each)
        if kind == "ws":
            listener = WebSocketClient(number, symbols, tally)
            kept.append(await ws_connect(lambda made=listener: made, f"ws://127.0.0.1:{port}/v2/iex"))
        else:
            # mypy cannot infer a lambda whose argument only binds the loop's variable.
            await loop.create_connection(lambda names=symbols: BareClient(names, tally), "127.0.0.1", port)  # type: ignore[misc]
    while tally.ready < count:
        await asyncio.sleep(0.01)
    print(json.dumps({"subscribed": count}), flush=True)
    kept.append(asyncio.create_task(doze()))
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        asked = json.loads(line)
        print(json.dumps(tally.report()), flush=True)
        if asked.get("reset"):
            tally.reset()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], *map(int, sys.argv[2:])))
