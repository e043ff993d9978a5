# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server is compared with: relays that do nothing but relay.

    relays.py broadcast|floor|echo SOURCE_PORT

`broadcast`: `websockets`, one `broadcast()` of a frame made beforehand for each message. `floor`: bare TCP on uvloop,
symbols decoded, one write for each client and turn of the loop. `echo`: the same, but it knows at which byte the symbol
stands and decodes nothing: what is left when everything that can be left out is.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from functools import partial
from typing import Any, cast

import msgspec
import uvloop
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

from wire import PER_OBJECT, SYMBOL_AT

OK = json.dumps([{"T": "success", "msg": "authenticated"}])


class Head(msgspec.Struct):
    S: str = ""


async def websockets_broadcast(source: int) -> None:
    subscribers: dict[str, set[ServerConnection]] = defaultdict(set)
    raws, heads = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(list[Head])

    async def client(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(OK)
        asked = json.loads(await connection.recv())
        for symbol in asked["trades"]:
            subscribers[symbol].add(connection)
        await connection.send(json.dumps([{"T": "subscription"}]))
        await connection.wait_closed()

    async with (
        serve(client, "127.0.0.1", 0, compression=None, ping_interval=None) as server,
        connect(f"ws://127.0.0.1:{source}/", compression=None, max_queue=None, ping_interval=None) as upstream,
    ):
        await upstream.send(json.dumps({"action": "subscribe", "trades": ["*"], "quotes": ["*"]}))
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        async for frame in upstream:
            data = frame.encode() if isinstance(frame, str) else frame
            for head, raw in zip(heads.decode(data), raws.decode(data), strict=True):
                if wanted := subscribers.get(head.S):
                    broadcast(wanted, (b"[%b]" % bytes(raw)).decode())


class Subscriber(asyncio.Protocol):
    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self.pending: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._asked = b""

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if self._asked.endswith(b"\n"):
            for symbol in json.loads(self._asked):
                self._floor.subscribers[symbol].append(self)


class Floor(asyncio.Protocol):
    """The upstream connection of the floor: an array of objects a line, or for the echo an object a line."""

    def __init__(self, *, decode: bool) -> None:
        self._decode = decode
        self._raws, self._heads = msgspec.json.Decoder(list[msgspec.Raw]), msgspec.json.Decoder(list[Head])
        self.subscribers: dict[str, list[Subscriber]] = defaultdict(list)
        self._rest = b""
        self._dirty: list[Subscriber] = []

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        if self._decode:
            *lines, self._rest = data.split(b"\n")
            for line in lines:
                for head, raw in zip(self._heads.decode(line), self._raws.decode(line), strict=True):
                    self._route(head.S, bytes(raw) + b"\n")
        else:
            rest = len(data) % PER_OBJECT
            self._rest = data[-rest:] if rest else b""
            for at in range(0, len(data) - rest, PER_OBJECT):
                line = data[at : at + PER_OBJECT]
                self._route(line[SYMBOL_AT].decode(), line)

    def _route(self, symbol: str, line: bytes) -> None:
        for subscriber in self.subscribers.get(symbol, ()):
            if not subscriber.pending:
                self._dirty.append(subscriber)
            subscriber.pending.append(line)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for subscriber in dirty:
            pending, subscriber.pending = subscriber.pending, []
            subscriber.transport.write(b"".join(pending))


async def bare(source: int, *, decode: bool) -> None:
    loop = asyncio.get_running_loop()
    floor = Floor(decode=decode)
    server = await loop.create_server(lambda: Subscriber(floor), "127.0.0.1", 0)
    await loop.create_connection(lambda: floor, "127.0.0.1", source)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.Event().wait()


RELAYS: dict[str, Any] = {
    "broadcast": websockets_broadcast,
    "floor": partial(bare, decode=True),
    "echo": partial(bare, decode=False),
}

if __name__ == "__main__":
    uvloop.run(RELAYS[sys.argv[1]](int(sys.argv[2])))
