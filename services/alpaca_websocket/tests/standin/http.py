# SPDX-License-Identifier: GPL-3.0-or-later
"""The REST history, and the control port's requests."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from aiohttp import web

from .codec import plain
from .faults import MALFORMED, Faults
from .market import SECOND, Item, Market
from .stream import Stream
from .trading import Trading

_KINDS = {"bars": "b", "trades": "t", "quotes": "q", "news": "n"}


def _time_ns(text: str) -> int:
    whole, _, fraction = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole.replace("Z", "") + "+00:00").timestamp())
    return seconds * SECOND + int(fraction[:9].ljust(9, "0") or "0")


def _asked(item: Item, symbols: set[str], start: int, end: int) -> bool:
    of = set(item["symbols"]) if item["T"] == "n" else {item["S"]}
    return (not symbols or bool(of & symbols)) and start <= _time_ns(item.get("updated_at") or item["t"]) <= end


class Rest:
    """GET /v2/stocks/{bars,trades,quotes}?symbols=&start=&end=&limit=&page_token=, in Alpaca's shape, with pages; of
    other feeds what they were told to send."""

    def __init__(self, market: Market, stream: Stream, faults: Faults) -> None:
        self._market, self._stream, self._faults = market, stream, faults
        self.requests: list[dict[str, str]] = []
        self.sent: list[Item] = []  # on other feeds

    async def handle(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.requests.append({"path": request.path, **query})
        if self._faults.rest:
            status = self._faults.rest.pop(0)
            return web.json_response({"message": "as asked for"}, status=status, headers={"Retry-After": "0"})
        keys = (request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY"))
        if keys != (self._stream.key, self._stream.secret):
            return web.json_response({"message": "forbidden."}, status=403)
        what = request.match_info.get("what", "news")
        try:
            start, end = _time_ns(query["start"]), _time_ns(query["end"])
            limit, offset = int(query.get("limit", "1000")), int(query.get("page_token") or 0)
            symbols = {name for name in query.get("symbols", "").split(",") if name}
        except (KeyError, ValueError) as error:
            return web.json_response({"message": f"invalid request: {error}"}, status=400)
        if request.path.startswith("/v2/stocks"):
            found = self._market.between(_KINDS[what], symbols, start, end)
        else:
            found = [item for item in self.sent if item["T"] == _KINDS[what] and _asked(item, symbols, start, end)]
        following = str(offset + limit) if offset + limit < len(found) else None
        if what == "news":
            articles = [{k: v for k, v in item.items() if k != "T"} for item in found[offset : offset + limit]]
            return web.json_response({"news": articles, "next_page_token": following})
        page: dict[str, list[Any]] = {}
        for item in found[offset : offset + limit]:
            shown = plain(item)
            page.setdefault(shown["S"], []).append({k: v for k, v in shown.items() if k not in ("T", "S")})
        return web.json_response({what: page, "next_page_token": following})


class Control:
    """POST /control/<name> with a JSON object; GET /control/state."""

    def __init__(self, market: Market, stream: Stream, faults: Faults, rest: Rest, trading: Trading) -> None:
        self._market, self._stream, self._faults, self._rest = market, stream, faults, rest
        self._trading = trading
        self.rate = 0.0  # steps of the market per second
        self.passed = 0  # steps so far

    def routes(self) -> list[web.RouteDef]:
        """One route for each method below that takes a request's object."""
        actions: list[Callable[[dict[str, Any]], Awaitable[object]]] = [
            self.rate_, self.step, self.send, self.raw, self.error, self.silence, self.half_open, self.refuse,
            self.rest_error, self.duplicate, self.reorder, self.malformed, self.break_frame, self.abort, self.close,
            self.limits, self.latency, self.clear, self.trade_update, self.trading_abort,
        ]  # fmt: skip
        made = [web.post(f"/control/{action.__name__.rstrip('_')}", _action(action)) for action in actions]
        return [*made, web.get("/control/state", self.state)]

    async def state(self, _request: web.Request) -> web.Response:
        stream = self._stream
        connections = [
            {"authenticated": one.authenticated, "path": one.path, "packed": one.packed, "sent": dict(one.sent),
             "subscriptions": {name: sorted(symbols) for name, symbols in one.subscriptions.items() if symbols}}
            for one in stream.open
        ]  # fmt: skip
        return web.json_response({
            "connections": connections, "attempts": stream.attempts, "now": time.monotonic(), "sent": dict(stream.sent),
            "steps": self.passed, "requests": stream.requests[-100:], "rest": self._rest.requests[-100:],
            "headers": stream.headers[-20:], "symbols": self._market.symbols,
            "trading": self._trading.state(),
            "trades": [item["i"] for item in self._market.past["t"]][-20_000:],
        })  # fmt: skip

    async def rate_(self, asked: dict[str, Any]) -> None:
        """{"steps": 100}: steps of the market per second, 0 to halt it."""
        self.rate = float(asked["steps"])

    async def step(self, asked: dict[str, Any]) -> object:
        """{"times": 3, "publish": false}: some steps now; unpublished ones are known to REST only."""
        made = 0
        for _ in range(int(asked.get("times", 1))):
            items = self._market.step(time.time_ns())
            self.passed += 1
            made += len(items)
            if asked.get("publish", True):
                await self._stream.publish(items)
        return {"messages": made}

    async def send(self, asked: dict[str, Any]) -> None:
        """{"messages": […], "path": "/v2/iex", "publish": false}: these, to whoever subscribed to them there, or for
        REST only; without a path: stocks."""
        if asked.get("path"):
            self._rest.sent += asked["messages"]
        if asked.get("publish", True):
            await self._stream.publish(asked["messages"], asked.get("path", ""))

    async def raw(self, asked: dict[str, Any]) -> None:
        """{"base64": …}: a frame of these bytes, to everybody."""
        for connection in list(self._stream.open):
            await connection.send_frame(base64.b64decode(asked["base64"]))

    async def error(self, asked: dict[str, Any]) -> None:
        """{"code": 406, "when": "connect" | "auth" | "subscribe" | "now", "times": 1}"""
        if asked.get("when", "now") != "now":
            self._faults.arm_error(asked["when"], int(asked["code"]), int(asked.get("times", 1)))
            return
        for connection in list(self._stream.open):
            await connection.error(int(asked["code"]))
            if asked["code"] in self._faults.closing:
                await connection.socket.close()

    async def silence(self, asked: dict[str, Any]) -> None:
        """{"seconds": 30}: an open socket, pings answered, no data; the market goes on."""
        self._faults.silence(float(asked["seconds"]))

    async def trade_update(self, asked: dict[str, Any]) -> None:
        """{"data": {…}, "publish": false}: to who listens; what is not published is known to REST only."""
        await self._trading.update(asked["data"], publish=asked.get("publish", True))

    async def trading_abort(self, _asked: dict[str, Any]) -> None:
        """Connections of the trading protocol end without a word."""
        self._trading.abort()

    async def half_open(self, asked: dict[str, Any]) -> None:
        """{"seconds": 30}: nothing is read or answered any more, and the places stay taken: 406 for others."""
        until = time.monotonic() + float(asked["seconds"])
        for connection in list(self._stream.open):
            connection.frozen_until = until
            if connection.authenticated:
                connection.authenticated = False
                self._stream.held.append((until, connection.path))

    async def refuse(self, asked: dict[str, Any]) -> None:
        """{"status": 429, "times": 2, "seconds": 0}: for the next upgrades, or a storm of some seconds."""
        self._faults.refuse(int(asked.get("status", 429)), int(asked.get("times", 0)), float(asked.get("seconds", 0)))

    async def rest_error(self, asked: dict[str, Any]) -> None:
        """{"status": 429, "times": 2} for the next REST requests."""
        self._faults.rest += [int(asked.get("status", 429))] * int(asked.get("times", 1))

    async def duplicate(self, asked: dict[str, Any]) -> None:
        self._faults.duplicates += int(asked.get("times", 1))

    async def reorder(self, asked: dict[str, Any]) -> None:
        self._faults.reorders += int(asked.get("times", 1))

    async def malformed(self, asked: dict[str, Any]) -> object:
        """{"which": "truncated"}: one of MALFORMED, or all of them."""
        chosen = [asked["which"]] if "which" in asked else list(MALFORMED)
        for connection in list(self._stream.open):
            for name in chosen:
                await connection.send_frame(MALFORMED[name])
        return {"sent": chosen}

    async def break_frame(self, _asked: dict[str, Any]) -> None:
        """Bytes that are no WebSocket frame."""
        for connection in list(self._stream.open):
            connection.transport.write(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")

    async def abort(self, asked: dict[str, Any]) -> None:
        """Connections end without a word. {"hold": 5}: their places stay taken for so long."""
        for connection in list(self._stream.open):
            if connection.authenticated and asked.get("hold"):
                self._stream.held.append((time.monotonic() + float(asked["hold"]), connection.path))
            connection.authenticated = False
            connection.transport.abort()

    async def close(self, asked: dict[str, Any]) -> None:
        for connection in list(self._stream.open):
            await connection.socket.close(code=int(asked.get("code", 1000)))

    async def limits(self, asked: dict[str, Any]) -> None:
        """{"connections": 1, "symbols": 30}"""
        self._stream.connections = int(asked.get("connections", self._stream.connections))
        self._stream.symbols = int(asked.get("symbols", self._stream.symbols))

    async def latency(self, asked: dict[str, Any]) -> None:
        """{"seconds": 0.1}: from a request to its effect and its answer."""
        self._faults.latency = float(asked["seconds"])

    async def clear(self, _asked: dict[str, Any]) -> None:
        self._faults.clear()
        self._stream.held.clear()


def _action(action: Callable[[dict[str, Any]], Awaitable[object]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            asked = json.loads(await request.text() or "{}")
            answer = await action(asked)
        except (ValueError, KeyError, TypeError) as error:
            return web.json_response({"error": repr(error)}, status=400)
        return web.json_response(answer if answer is not None else {})

    return handle
