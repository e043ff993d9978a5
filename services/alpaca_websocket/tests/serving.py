# SPDX-License-Identifier: GPL-3.0-or-later
"""The client-facing half in the test's own event loop: a real server on a real port, without an upstream."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from alpaca_websocket.downstream import auth
from alpaca_websocket.downstream.latest import Latest
from alpaca_websocket.downstream.router import Router
from alpaca_websocket.downstream.served import Served
from alpaca_websocket.downstream.server import Server
from alpaca_websocket.endpoints import ENDPOINTS
from alpaca_websocket.observe.state import Arrivals, State
from alpaca_websocket.protocol import Message, Messages
from alpaca_websocket.settings import Downstream
from alpaca_websocket.store import Store, StoreSettings

PATIENCE = 60.0


def message(kind: str, symbol: str, number: int, padding: int = 0) -> Message:
    item = {"T": kind, "S": symbol, "i": number, "t": "2026-11-23T14:30:00.000000001Z", "p": 1.5, "c": ["@" * padding]}
    return Message(kind, symbol, json.dumps(item).encode())


class Serving:
    """What the app does: keep, number, publish."""

    def __init__(
        self, state: State, router: Router, server: Server, url: str, store: Store | None, latest: Latest
    ) -> None:
        self.state, self.router, self.server, self.url, self.store = state, router, server, url, store
        self.latest = latest
        self.head = 0
        self.changes = 0

    @property
    def port(self) -> int:
        return int(self.url.split(":")[2].split("/")[0])

    def publish(self, *messages: Message) -> None:
        batch = Messages.of(messages)
        if self.store is not None:
            self.head = self.store.append(batch, self.state.clock())
        self.latest.add(batch)
        self.router.publish(batch, self.state.clock())


@contextlib.asynccontextmanager
async def serving(
    tmp_path: Path, *, store: bool = False, tokens: str = "", path: str = "/v2/iex", **settings: Any
) -> AsyncIterator[Serving]:
    state = State()
    kept = (
        Store.open(StoreSettings(directory=str(tmp_path / "store"), min_free_bytes=1, close_seconds=0.0))
        if store
        else None
    )
    if tokens:
        (tmp_path / "tokens.toml").write_text(tokens)
        settings["tokens_file"] = str(tmp_path / "tokens.toml")
    configured = Downstream(port=0, **settings)
    made: list[Serving] = []

    def changed() -> None:
        made[0].changes += 1

    router, latest = Router(state, changed), Latest()
    feed = Served(
        ENDPOINTS[path].name,
        ENDPOINTS[path],
        state,
        router,
        lambda: made[0].head,
        (lambda: kept) if store else None,
        latest,
    )
    server = Server(configured, auth.Tokens(configured.tokens_file), {path: feed}, Arrivals())
    made.append(Serving(state, router, server, f"ws://127.0.0.1:{await server.start()}{path}", kept, latest))
    if kept is not None:
        made[0].head = kept.recovery.next_sequence - 1
    try:
        yield made[0]
    finally:
        await server.stop()
        if kept is not None:
            await asyncio.to_thread(kept.close)


class Caller:
    """A client by the `websockets` library that speaks JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Sends, and returns the next message."""
        await self.socket.send(json.dumps(request))
        return (await self.next())[0]

    async def next(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE):
            frame = await self.socket.recv()
        decoded = msgspec.msgpack.decode(frame) if isinstance(frame, bytes) else json.loads(frame)
        assert isinstance(decoded, list)
        return decoded

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """All messages up to the first that is wanted, that one included."""
        found: list[dict[str, Any]] = []
        while not (found and wanted(found[-1])):
            found += await self.next()
        return found

    async def closed(self) -> int | None:
        """Waits for the end; the close code."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        return self.socket.close_code


@contextlib.asynccontextmanager
async def calling(url: str, *, key: str | None = "me", secret: str = "", **options: Any) -> AsyncIterator[Caller]:
    """Connected, and authenticated unless the key is None."""
    async with connect(url, open_timeout=PATIENCE, **options) as socket:
        caller = Caller(socket)
        assert await caller.next() == [{"T": "success", "msg": "connected"}]
        if key is not None:
            assert await caller.ask(action="auth", key=key, secret=secret) == {"T": "success", "msg": "authenticated"}
        yield caller


def certificate(directory: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that signs itself, and its key: their paths."""
    made, key = str(directory / "cert.pem"), str(directory / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", made, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


async def eventually(condition: Callable[[], object], what: str) -> None:
    """Waits for the condition."""
    give_up = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < give_up, f"waited in vain for {what}"
        await asyncio.sleep(0.01)
