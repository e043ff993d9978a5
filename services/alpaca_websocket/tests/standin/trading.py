# SPDX-License-Identifier: GPL-3.0-or-later
"""The account's own orders: the trading protocol at /stream, in binary frames, and the REST that knows of fills."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from .faults import Faults

_FILLS = ("fill", "partial_fill")


@dataclass(eq=False)
class _Listener:
    socket: web.WebSocketResponse
    transport: asyncio.Transport
    authorized: bool = False
    streams: list[str] = field(default_factory=list)

    async def send(self, stream: str, **data: Any) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self.socket.send_bytes(json.dumps({"stream": stream, "data": data}).encode())


class Trading:
    """One account. It says nothing to who connects, and knows one stream."""

    def __init__(self, key: str, secret: str, faults: Faults) -> None:
        self._keys, self._faults = (key, secret), faults
        self.open: set[_Listener] = set()
        self.updates: list[dict[str, Any]] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/stream", self.handle),
            web.get("/v2/account/activities/FILL", self.fills),
            web.get("/v2/orders/{id}", self.order),
        ]

    def state(self) -> list[dict[str, Any]]:
        return [{"authorized": one.authorized, "streams": one.streams} for one in self.open]

    def abort(self) -> None:
        for one in list(self.open):
            one.transport.abort()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if status := self._faults.refusal():
            return web.Response(status=status, text="refused")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert request.transport is not None
        one = _Listener(socket, request.transport)
        self.open.add(one)
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._request(one, json.loads(message.data))
        finally:
            self.open.discard(one)
        return socket

    async def _request(self, one: _Listener, asked: dict[str, Any]) -> None:
        data = asked.get("data", {})
        if asked["action"] in ("auth", "authenticate"):
            keys = asked.get("key") or data.get("key_id"), asked.get("secret") or data.get("secret_key")
            one.authorized = keys == self._keys
            status = "authorized" if one.authorized else "unauthorized"
            await one.send("authorization", status=status, action="authenticate")
        elif not one.authorized:
            await one.send("authorization", status="unauthorized", action="listen")
        elif asked["action"] == "listen":
            one.streams = [name for name in data["streams"] if name == "trade_updates"]
            await one.send("listening", streams=one.streams)

    async def update(self, data: dict[str, Any], *, publish: bool) -> None:
        self.updates.append(data)
        for one in [one for one in self.open if publish and one.streams]:
            await one.send("trade_updates", **data)

    # REST

    async def fills(self, request: web.Request) -> web.Response:
        """Account activities, oldest first, in pages."""
        if not self._may(request):
            return web.json_response({"message": "forbidden."}, status=403)
        query = request.query
        found = [
            {
                "id": f"{number:020d}::{data['order']['id']}", "activity_type": "FILL", "type": data["event"],
                "transaction_time": data["timestamp"], "price": data["price"], "qty": data["qty"],
                "side": data["order"]["side"], "symbol": data["order"]["symbol"], "order_id": data["order"]["id"],
                "cum_qty": data["order"]["filled_qty"], "order_status": data["order"]["status"],
            }
            for number, data in enumerate(self.updates)
            if data["event"] in _FILLS and query.get("after", "") < data["timestamp"] <= query.get("until", "9")
        ]  # fmt: skip
        last = query.get("page_token", "")
        rest = [item for item in found if item["id"] > last]
        return web.json_response(rest[: int(query.get("page_size", "100"))])

    async def order(self, request: web.Request) -> web.Response:
        """An order as it is now."""
        if not self._may(request):
            return web.json_response({"message": "forbidden."}, status=403)
        found = [data["order"] for data in self.updates if data["order"]["id"] == request.match_info["id"]]
        return web.json_response(found[-1]) if found else web.json_response({"message": "not found"}, status=404)

    def _may(self, request: web.Request) -> bool:
        headers = request.headers
        return (headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY")) == self._keys
