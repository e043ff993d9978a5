# SPDX-License-Identifier: GPL-3.0-or-later
"""The load: an upstream that sends as many messages per second as it is told, over Alpaca's protocol or bare TCP.

Commands come as lines of JSON on standard input: {"rate": messages per second, "seconds": s} sends for so long and
answers {"sent": messages, "elapsed": s}.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any, cast

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from wire import SYMBOLS, heads, stamp

FRAME = 25  # messages in one frame at most
CHANNELS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors")


class Upstream(WSListener):
    """Lets everybody in, and agrees to everything."""

    def __init__(self, ready: Callable[[Upstream], None]) -> None:
        super().__init__()
        self._ready = ready
        self._subscribed: dict[str, set[str]] = {name: set() for name in CHANNELS}
        self._parts = b""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self._answer({"T": "success", "msg": "connected"})

    def _answer(self, item: dict[str, Any]) -> None:
        self.transport.send(WSMsgType.TEXT, json.dumps([item]).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type not in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            return
        self._parts += frame.get_payload_as_bytes()
        if not frame.fin:
            return
        asked, self._parts = json.loads(self._parts), b""
        if asked["action"] == "auth":
            self._answer({"T": "success", "msg": "authenticated"})
            return
        for name, symbols in self._subscribed.items():
            if asked["action"] == "subscribe":
                symbols |= set(asked.get(name, ()))
            else:
                symbols -= set(asked.get(name, ()))
        self._answer({"T": "subscription"} | {name: sorted(symbols) for name, symbols in self._subscribed.items()})
        self._ready(self)

    def pause_writing(self) -> None:
        """That the relay falls behind shows in what its clients get; it need not be logged."""

    resume_writing = pause_writing

    def frame(self, objects: list[bytes]) -> None:
        self.transport.send(WSMsgType.TEXT, b"[%b]" % b",".join(objects))


class Bare(asyncio.Protocol):
    """The same without WebSocket: an array a line, or an object a line."""

    def __init__(self, ready: Callable[[Bare], None], *, arrays: bool) -> None:
        self._ready = ready
        self._form, self._between = (b"[%b]\n", b",") if arrays else (b"%b\n", b"\n")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._ready(self)

    def frame(self, objects: list[bytes]) -> None:
        self.transport.write(self._form % self._between.join(objects))


async def send(to: Upstream | Bare, rate: float, seconds: float) -> dict[str, float]:
    """At an even pace, in whole rounds of all symbols, so that what each client must get can be reckoned."""
    walk = cycle(heads())
    rounds = max(1, round(rate * seconds / len(SYMBOLS)))
    total, sent = rounds * len(SYMBOLS), 0
    began = time.perf_counter()
    while sent < total:
        due = min(total, int((time.perf_counter() - began) * rate) + 1)
        while sent < due:
            count = min(FRAME, due - sent)
            tail = stamp()
            to.frame([head + tail for head in islice(walk, count)])
            sent += count
        await asyncio.sleep(0.001)
    return {"sent": sent, "elapsed": time.perf_counter() - began}


async def main(kind: str) -> None:
    loop = asyncio.get_running_loop()
    connected: asyncio.Queue[Upstream | Bare] = asyncio.Queue()
    if kind == "ws":
        server = await ws_create_server(lambda _request: Upstream(connected.put_nowait), "127.0.0.1", 0)
    else:
        server = await loop.create_server(lambda: Bare(connected.put_nowait, arrays=kind == "arrays"), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    to = await connected.get()
    while line := await commands.readline():
        while not connected.empty():
            to = connected.get_nowait()
        asked = json.loads(line)
        print(json.dumps(await send(to, asked["rate"], asked["seconds"])), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
