"""The HTTP side: Alpaca's paths, the faults, and the control port's requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp import web

from standin.faults import Faults
from standin.trading import Trading

from . import views
from .account import OPEN, Account, Order, Refused, stamp, text

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _now() -> datetime:
    return datetime.now(UTC)


class Broker:
    """
    :param state: a file that keeps orders, positions and cash; they are there again after a restart
    """

    def __init__(self, key: str, secret: str, always_open: bool, state: Path | None = None) -> None:
        self._keys, self._file = (key, secret), state
        self._always = always_open
        self.faults = Faults()
        self.stream = Trading(key, secret, self.faults)
        self.account = Account(self._tell)
        self.account.open_market = always_open or views.in_session(_now())
        self._drops: list[tuple[str, str]] = []  # connections to end: of which requests, before the work or after it
        self._rejections: list[str] = []
        self._late_rejections = 0
        self.requests: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._door])
        app.router.add_get("/v2/account", self._account)
        app.router.add_get("/v2/clock", self._clock)
        app.router.add_get("/v2/calendar", self._calendar)
        app.router.add_post("/v2/orders", self._submit)
        app.router.add_get("/v2/orders", self._orders)
        app.router.add_get("/v2/orders:by_client_order_id", self._by_client_order_id)
        app.router.add_delete("/v2/orders", self._cancel_all)
        app.router.add_get("/v2/orders/{id}", self._order)
        app.router.add_delete("/v2/orders/{id}", self._cancel)
        app.router.add_get("/v2/positions", self._positions)
        app.router.add_get("/v2/positions/{symbol}", self._position)
        # The stream's protocol and the account's activities are those of the market-data server's stand-in.
        app.router.add_get("/stream", self.stream.handle)
        app.router.add_get("/v2/account/activities/FILL", self.stream.fills)
        actions: list[Callable[[dict[str, Any]], None]] = [
            self.price, self.market, self.reject, self.reject_late, self.hold_cancels, self.partial, self.fill_rest,
            self.http_error, self.drop, self.refuse_stream, self.stream_abort, self.clear,
        ]  # fmt: skip
        for action in actions:
            app.router.add_post(f"/control/{action.__name__}", _action(action))
        app.router.add_get("/control/state", self._state)
        return app

    def restore(self) -> None:
        """Read the file; what waited for the exchange goes on."""
        if self._file is None or not self._file.exists():
            return
        saved = json.loads(self._file.read_text())
        self.account.restore(saved)
        self.stream.updates = saved["updates"]
        for order in list(self.account.open_orders()):
            self._soon(self._exchange(order) if order.status == "pending_new" else self._confirm(order))

    def _save(self) -> None:
        if self._file is not None:
            draft = self._file.with_name(f".{self._file.name}.new")
            draft.write_text(json.dumps(self.account.saved() | {"updates": self.stream.updates}))
            draft.replace(self._file)

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/v2/"):
            return await handler(request)
        self.requests.append(f"{request.method} {request.path}")
        if (request.headers.get("APCA-API-KEY-ID"), request.headers.get("APCA-API-SECRET-KEY")) != self._keys:
            return web.json_response({"code": 40110000, "message": "request is not authorized"}, status=401)
        if self.faults.rest:
            status = self.faults.rest.pop(0)
            message = {429: "too many requests."}.get(status, "internal server error occurred")
            return web.json_response({"code": status * 100_000 + 10_000, "message": message}, status=status)
        drop = self._dropping(self.requests[-1])
        if drop == "before":
            return self._end(request)
        if not self._always:
            self.account.set_market(views.in_session(_now()), _now())
        try:
            response = await handler(request)
        except Refused as refused:
            response = web.json_response(refused.body, status=refused.status)
        except ValueError as error:
            response = web.json_response({"code": 40010000, "message": f"invalid request: {error}"}, status=400)
        return self._end(request) if drop else response

    def _dropping(self, asked: str) -> str:
        for number, (of, when) in enumerate(self._drops):
            if asked.startswith(of):
                del self._drops[number]
                return when
        return ""

    @staticmethod
    def _end(request: web.Request) -> web.StreamResponse:
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.abort()
        return web.Response()

    async def _account(self, _request: web.Request) -> web.Response:
        return web.json_response(views.account(self.account))

    async def _clock(self, _request: web.Request) -> web.Response:
        return web.json_response(views.clock(_now(), self._always, self.account.open_market))

    async def _calendar(self, request: web.Request) -> web.Response:
        today = _now().date().isoformat()
        start, end = (date.fromisoformat(request.query.get(name, today)[:10]) for name in ("start", "end"))
        return web.json_response(views.calendar(start, end))

    async def _submit(self, request: web.Request) -> web.Response:
        if self._rejections:
            raise Refused(403, 40310000, self._rejections.pop(0))
        order = self.account.submit(await request.json(), _now())
        self._save()  # an order that was answered is never forgotten
        answer = web.json_response(order.view())
        self._soon(self._exchange(order))
        return answer

    async def _exchange(self, order: Order) -> None:
        if self._late_rejections:
            self._late_rejections -= 1
            self.account.reject(order, _now())
        else:
            self.account.accept(order, _now())

    async def _orders(self, request: web.Request) -> web.Response:
        query = request.query
        symbols = {name for name in query.get("symbols", "").split(",") if name}
        status, limit = query.get("status", "open"), min(500, int(query.get("limit", "50")))
        after, until = (datetime.fromisoformat(query[name]) if name in query else None for name in ("after", "until"))
        found = [
            order
            for order in self.account.orders.values()
            if (not symbols or order.symbol in symbols)
            and (status == "all" or (order.status in OPEN) == (status == "open"))
            and query.get("side", order.side) == order.side
            and (after is None or order.created > after)
            and (until is None or order.created <= until)
        ]
        found.sort(key=lambda order: order.created, reverse=query.get("direction", "desc") == "desc")
        return web.json_response([order.view() for order in found[:limit]])

    async def _order(self, request: web.Request) -> web.Response:
        return web.json_response(self.account.order(request.match_info["id"]).view())

    async def _by_client_order_id(self, request: web.Request) -> web.Response:
        wanted = request.query.get("client_order_id", "")
        for order in self.account.orders.values():
            if order.client_order_id == wanted:
                return web.json_response(order.view())
        raise Refused(404, 40410000, f"order not found for {wanted}")

    async def _cancel(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        self.account.cancel(identifier, _now())
        self._soon(self._confirm(self.account.order(identifier)))
        return web.Response(status=204)

    async def _cancel_all(self, _request: web.Request) -> web.Response:
        orders = list(self.account.open_orders())
        for order in orders:
            self.account.cancel(order.id, _now())
            self._soon(self._confirm(order))
        return web.json_response([{"id": order.id, "status": 200} for order in orders], status=207)

    async def _confirm(self, order: Order) -> None:
        self.account.confirm_cancel(order, _now())

    async def _positions(self, _request: web.Request) -> web.Response:
        found = (views.position(self.account, symbol) for symbol in sorted(self.account.holdings))
        return web.json_response([view for view in found if view])

    async def _position(self, request: web.Request) -> web.Response:
        view = views.position(self.account, request.match_info["symbol"])
        if view is None:
            raise Refused(404, 40410000, "position does not exist")
        return web.json_response(view)

    def _tell(self, event: str, order: Order, more: dict[str, Any]) -> None:
        data = {"event": event, "order": order.view(), "timestamp": stamp(_now()), **more}
        self._soon(self._publish(data))

    async def _publish(self, data: dict[str, Any]) -> None:
        await self.stream.update(data, publish=True)
        self._save()

    def _soon(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What can be asked for at /control/<name>

    def price(self, asked: dict[str, Any]) -> None:
        """{"symbol": "AAPL", "price": 100.5}"""
        self.account.set_price(str(asked["symbol"]), Decimal(str(asked["price"])), _now())

    def market(self, asked: dict[str, Any]) -> None:
        """{"open": false}: the market is closed; with --market always only."""
        self.account.set_market(bool(asked["open"]), _now())

    def reject(self, asked: dict[str, Any]) -> None:
        """{"times": 1, "message": "…"}: the next orders are refused with 403."""
        message = str(asked.get("message", "asset is not tradable"))
        self._rejections += [message] * int(asked.get("times", 1))

    def reject_late(self, asked: dict[str, Any]) -> None:
        """{"times": 1}: the next orders are taken, then rejected by the exchange."""
        self._late_rejections += int(asked.get("times", 1))

    def hold_cancels(self, asked: dict[str, Any]) -> None:
        """{"on": true}: cancels are taken and never confirmed; false: what waits is confirmed."""
        self.account.hold_cancels = bool(asked["on"])
        for order in list(self.account.open_orders()):
            self.account.confirm_cancel(order, _now())

    def partial(self, asked: dict[str, Any]) -> None:
        """{"share": 0.5, "times": 1}: of the next orders only this share is filled, 0 for nothing."""
        self.account.partial += [Decimal(str(asked.get("share", "0.5")))] * int(asked.get("times", 1))

    def fill_rest(self, _asked: dict[str, Any]) -> None:
        """What was held back is filled."""
        for order in list(self.account.open_orders()):
            order.at_most = None
            self.account.match(order, _now())

    def http_error(self, asked: dict[str, Any]) -> None:
        """{"status": 429, "times": 2}: for the next requests."""
        self.faults.rest += [int(asked.get("status", 500))] * int(asked.get("times", 1))

    def drop(self, asked: dict[str, Any]) -> None:
        """{"when": "before" | "after", "of": "POST /v2/orders", "times": 1}: the connection ends instead of an answer,
        with the work done or not; without `of`: of any request."""
        self._drops += [(str(asked.get("of", "")), str(asked.get("when", "before")))] * int(asked.get("times", 1))

    def refuse_stream(self, asked: dict[str, Any]) -> None:
        """{"status": 429, "times": 2}: for the next connections of the stream."""
        self.faults.refuse(int(asked.get("status", 429)), int(asked.get("times", 1)), 0)

    def stream_abort(self, _asked: dict[str, Any]) -> None:
        """Connections of the stream end without a word."""
        self.stream.abort()

    def clear(self, _asked: dict[str, Any]) -> None:
        """No fault is armed any more; held cancels are confirmed, held fills are filled."""
        self.faults.rest.clear()
        self.faults.refuse(0, 0, 0)
        self._drops.clear()
        self._rejections.clear()
        self._late_rejections = 0
        self.account.partial.clear()
        self.hold_cancels({"on": False})
        self.fill_rest({})

    async def _state(self, _request: web.Request) -> web.Response:
        orders = [order.view() for order in self.account.orders.values()]
        positions = {symbol: text(held.qty) for symbol, held in self.account.holdings.items() if held.qty}
        prices = {symbol: str(price) for symbol, price in self.account.prices.items()}
        return web.json_response(
            {"orders": orders, "positions": positions, "prices": prices, "cash": str(self.account.cash),
             "streams": self.stream.state(), "requests": self.requests}
        )  # fmt: skip


def _action(action: Callable[[dict[str, Any]], None]) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        try:
            action(json.loads(await request.text() or "{}"))
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            return web.json_response({"error": repr(error)}, status=400)
        return web.json_response({})

    return handle
