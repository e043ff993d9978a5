# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream: connected, auth, subscribe, data; and everything that can go wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from .codec import decode, encode
from .faults import ERRORS, Faults
from .market import CHANNELS, CHANNELS_OF, MSGPACK_ONLY, Item

WITH_TRADES = ("corrections", "cancelErrors")


@dataclass(eq=False)
class Connection:
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    packed: bool
    path: str = "/v2/iex"
    authenticated: bool = False
    subscriptions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sent: Counter[str] = field(default_factory=Counter)
    frozen_until: float = 0.0  # monotonic; until then nothing is read or answered

    async def thawed(self) -> None:
        while time.monotonic() < self.frozen_until:
            await asyncio.sleep(0.02)

    async def send(self, *items: Item) -> None:
        await self.send_frame(encode(items, packed=self.packed))

    async def send_frame(self, frame: bytes) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            if self.packed:
                await self.socket.send_bytes(frame)
            else:
                await self.socket._writer.send_frame(frame, WSMsgType.TEXT)  # type: ignore[union-attr]

    async def error(self, code: int) -> None:
        await self.send({"T": "error", "code": code, "msg": ERRORS.get(code, "unknown")})

    def wants(self, item: Item) -> bool:
        symbols = self.subscriptions[self.channels.get(item["T"], "")]
        return "*" in symbols or bool(symbols & set(item["symbols"] if item["T"] == "n" else [item["S"]]))

    def is_of(self, path: str) -> bool:
        """Whether it is at this path; without one: at one for stocks."""
        return self.path == path if path else self.path not in CHANNELS_OF

    @property
    def channels(self) -> dict[str, str]:
        """By the letter of their messages."""
        return CHANNELS_OF.get(self.path, CHANNELS)

    def subscription(self) -> Item:
        listed = {channel: sorted(self.subscriptions[channel]) for channel in self.channels.values()}
        return {"T": "subscription"} | listed


class Stream:
    """Everything connected, with the limits of an account: `connections` to each path, `symbols` of each channel."""

    def __init__(self, faults: Faults, key: str, secret: str, *, connections: int = 1, symbols: int = 0) -> None:
        self.faults = faults
        self.key, self.secret = key, secret
        self.connections, self.symbols = connections, symbols
        self.open: set[Connection] = set()
        self.held: list[tuple[float, str]] = []  # until when (monotonic) places of half-dead connections stay taken
        self.attempts: list[float] = []  # when somebody connected, refused ones included
        self.requests: list[dict[str, Any]] = []  # what was asked, without keys
        self.headers: list[dict[str, str]] = []
        self.sent: Counter[str] = Counter()

    def taken(self, path: str) -> int:
        now = time.monotonic()
        self.held = [(until, where) for until, where in self.held if until > now]
        held = sum(where == path for _until, where in self.held)
        return sum(connection.authenticated and connection.path == path for connection in self.open) + held

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.attempts.append(time.monotonic())
        wanted = ("content-type", "sec-websocket-extensions", "user-agent")
        self.headers.append({name: request.headers.get(name, "") for name in wanted})
        if status := self.faults.refusal():
            return web.Response(status=status, text="refused", headers={"Retry-After": "1"})
        socket = web.WebSocketResponse(autoping=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        assert request.transport is not None
        packed = request.headers.get("content-type", "") == "application/msgpack"
        connection = Connection(socket, request.transport, packed, request.path)
        self.open.add(connection)
        try:
            await self._talk(connection, request)
        finally:
            self.open.discard(connection)
        return socket

    async def _talk(self, connection: Connection, request: web.Request) -> None:
        if await self._injected(connection, "connect"):
            return
        if connection.path in MSGPACK_ONLY and not connection.packed:
            await connection.error(412)
            await connection.socket.close()
            return
        await connection.send({"T": "success", "msg": "connected"})
        headers = request.headers
        if "APCA-API-KEY-ID" in headers:
            keys = {"key": headers["APCA-API-KEY-ID"], "secret": headers.get("APCA-API-SECRET-KEY", "")}
            if await self._authenticate(connection, keys):
                return
        async for message in connection.socket:
            await connection.thawed()
            await asyncio.sleep(self.faults.latency)
            if message.type == WSMsgType.PING:
                await connection.socket.pong(message.data)
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                with contextlib.suppress(ConnectionError):
                    if await self._request(connection, message.data):
                        return

    async def _injected(self, connection: Connection, moment: str) -> bool:
        """An error asked for at this moment; Alpaca closes the connection after most of them."""
        code = self.faults.error_at(moment)
        if code is None:
            return False
        await connection.error(code)
        if code in self.faults.closing:
            await connection.socket.close()
            return True
        return False

    async def _request(self, connection: Connection, payload: bytes | str) -> bool:
        """Answers one request; returns whether the connection is over."""
        try:
            asked = decode(payload, packed=connection.packed)
            action = asked["action"]
        except (ValueError, TypeError, KeyError):
            await connection.error(400)
            return False
        hidden = {name: value for name, value in asked.items() if name not in ("key", "secret")}
        self.requests.append(hidden)
        if action == "auth":
            return await self._authenticate(connection, asked)
        if not connection.authenticated:
            await connection.error(401)
        elif action in ("subscribe", "unsubscribe"):
            if await self._injected(connection, "subscribe"):
                return connection.socket.closed
            await self._subscribe(connection, action, asked)
        else:
            await connection.error(400)
        return False

    async def _authenticate(self, connection: Connection, asked: dict[str, Any]) -> bool:
        if await self._injected(connection, "auth"):
            return True
        if connection.authenticated:
            await connection.error(403)
        elif (asked.get("key"), asked.get("secret")) != (self.key, self.secret):
            await connection.error(402)
            await connection.socket.close()
            return True
        elif self.taken(connection.path) >= self.connections:
            await connection.error(406)
            await connection.socket.close()
            return True
        else:
            connection.authenticated = True
            await connection.send({"T": "success", "msg": "authenticated"})
        return False

    async def _subscribe(self, connection: Connection, action: str, asked: dict[str, Any]) -> None:
        changed = {channel: set(asked.get(channel) or ()) for channel in connection.channels.values()}
        if any(asked[name] for name in asked.keys() - changed.keys() - {"action"}):
            await connection.error(410)
            return
        for channel in WITH_TRADES:
            if channel in changed:
                changed[channel] |= changed["trades"]
        if action == "subscribe":
            after = {channel: connection.subscriptions[channel] | symbols for channel, symbols in changed.items()}
            if self.symbols and any(len(symbols) > self.symbols for symbols in after.values()):
                await connection.error(405)
                return
        else:
            after = {channel: connection.subscriptions[channel] - symbols for channel, symbols in changed.items()}
        connection.subscriptions.update(after)
        await connection.send(connection.subscription())

    async def publish(self, items: Iterable[Item], path: str = "") -> None:
        """Send data to everybody who subscribed to it, as the faults will have it: of stocks unless a path is named."""
        if self.faults.quiet:
            return
        items = self.faults.arranged(list(items))
        for connection in [each for each in self.open if each.authenticated and each.is_of(path)]:
            wanted = [item for item in items if connection.wants(item)]
            if not wanted:
                continue
            for frame_items in self.faults.frames(wanted):
                await connection.send_frame(encode(frame_items, packed=connection.packed))
                self._count(connection, frame_items)

    def _count(self, connection: Connection, items: Sequence[Item]) -> None:
        kinds = Counter(item["T"] for item in items)
        connection.sent.update(kinds)
        self.sent.update(kinds)

    async def close(self) -> None:
        for connection in list(self.open):
            connection.transport.abort()
