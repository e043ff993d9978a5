"""One account's orders, fills, positions and cash, by Alpaca's rules. Nothing here knows of HTTP or waits."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

OPEN = ("pending_new", "accepted", "new", "partially_filled", "pending_cancel")
_STARTING_CASH = Decimal(100_000)
_MULTIPLIER = 4  # buying power of a margin account, in times of its equity


class Refused(Exception):
    """The answer to a request that Alpaca would refuse: HTTP status, Alpaca's code, its message."""

    def __init__(self, status: int, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message, **more}


def invalid(message: str) -> Refused:
    return Refused(422, 42210000, message)


def identity(kind: str, name: str) -> str:
    """The same name always has the same id."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"paper-broker/{kind}/{name}"))


def text(number: Decimal | None) -> str | None:
    """As Alpaca writes numbers: a string without trailing zeros."""
    if number is None:
        return None
    short = f"{number:f}"
    return (short.rstrip("0").rstrip(".") or "0") if "." in short else short


@dataclass(eq=False)
class Order:
    symbol: str
    qty: Decimal
    side: str
    type: str
    time_in_force: str
    limit_price: Decimal | None
    client_order_id: str
    created: datetime
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "pending_new"
    filled_qty: Decimal = Decimal(0)
    paid: Decimal = Decimal(0)
    moments: dict[str, datetime] = field(default_factory=dict)
    updated: datetime | None = None
    at_most: Decimal | None = None  # a fault: no more of it is filled

    @property
    def sign(self) -> int:
        return 1 if self.side == "buy" else -1

    @property
    def rest(self) -> Decimal:
        return self.qty - self.filled_qty

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it; `restored` takes it."""
        values = {name: None if value is None else str(value) for name, value in vars(self).items()}
        return values | {"moments": {name: at.isoformat() for name, at in self.moments.items()}}

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Order:
        values = dict(saved)
        for name in ("qty", "limit_price", "filled_qty", "paid", "at_most"):
            values[name] = None if saved[name] is None else Decimal(saved[name])
        for name in ("created", "updated"):
            values[name] = None if saved[name] is None else datetime.fromisoformat(saved[name])
        values["moments"] = {name: datetime.fromisoformat(at) for name, at in saved["moments"].items()}
        return cls(**values)

    def view(self) -> dict[str, Any]:
        def moment(name: str) -> str | None:
            return stamp(self.moments[name]) if name in self.moments else None

        return {
            "id": self.id, "client_order_id": self.client_order_id,
            "created_at": stamp(self.created), "updated_at": stamp(self.updated or self.created),
            "submitted_at": stamp(self.created), "filled_at": moment("filled"), "expired_at": None,
            "canceled_at": moment("canceled"), "failed_at": moment("rejected"), "replaced_at": None,
            "replaced_by": None, "replaces": None, "asset_id": identity("asset", self.symbol), "symbol": self.symbol,
            "asset_class": "us_equity", "notional": None, "qty": text(self.qty),
            "filled_qty": text(self.filled_qty),
            "filled_avg_price": text(round(self.paid / self.filled_qty, 4)) if self.filled_qty else None,
            "order_class": "", "order_type": self.type, "type": self.type, "side": self.side,
            "time_in_force": self.time_in_force, "limit_price": text(self.limit_price), "stop_price": None,
            "status": self.status, "extended_hours": False, "legs": None, "trail_percent": None,
            "trail_price": None, "hwm": None,
        }  # fmt: skip


@dataclass
class Holding:
    qty: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)  # of what is held; negative for a short position

    def take(self, signed: Decimal, price: Decimal) -> None:
        if self.qty * signed >= 0:
            self.cost += signed * price
        else:  # never more than what is held: an order does not cross zero
            self.cost += self.cost / self.qty * signed
        self.qty += signed


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class Account:
    """`tell` is called with the event, the order, and what more a trade update carries."""

    def __init__(self, tell: Callable[[str, Order, dict[str, Any]], None], cash: Decimal = _STARTING_CASH) -> None:
        self.tell = tell
        self.cash = cash
        self.orders: dict[str, Order] = {}
        self.holdings: dict[str, Holding] = {}
        self.prices: dict[str, Decimal] = {}
        self.open_market = True
        self.hold_cancels = False  # a fault: they stay pending
        self.partial: list[Decimal] = []  # a fault: the share of the next orders that is filled

    def saved(self) -> dict[str, Any]:
        """Orders, positions and cash; the faults are not kept."""
        return {
            "cash": str(self.cash),
            "orders": [order.saved() for order in self.orders.values()],
            "holdings": {symbol: [str(held.qty), str(held.cost)] for symbol, held in self.holdings.items()},
            "prices": {symbol: str(price) for symbol, price in self.prices.items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        self.cash = Decimal(saved["cash"])
        self.orders = {order.id: order for order in map(Order.restored, saved["orders"])}
        self.holdings = {symbol: Holding(*map(Decimal, held)) for symbol, held in saved["holdings"].items()}
        self.prices = {symbol: Decimal(price) for symbol, price in saved["prices"].items()}

    def submit(self, asked: dict[str, Any], now: datetime) -> Order:
        order = self._read(asked, now)
        self._check(order)
        if self.partial:
            order.at_most = (order.qty * self.partial.pop(0)).to_integral_value(rounding="ROUND_FLOOR")
        self.orders[order.id] = order
        return order

    def _read(self, asked: dict[str, Any], now: datetime) -> Order:
        if asked.get("notional") is not None or asked.get("order_class") not in (None, "", "simple"):
            raise invalid("only simple orders with a qty are supported here")
        try:
            qty = Decimal(str(asked["qty"]))
            limit = Decimal(str(asked["limit_price"])) if asked.get("limit_price") is not None else None
            symbol, side, kind = str(asked["symbol"]), str(asked["side"]), str(asked["type"])
            time_in_force = str(asked["time_in_force"])
        except (KeyError, InvalidOperation) as error:
            raise invalid(f"invalid order: {error}") from error
        if not qty.is_finite() or qty <= 0:
            raise invalid("qty must be > 0")
        if side not in ("buy", "sell"):
            raise invalid("invalid side")
        if kind not in ("market", "limit") or (kind == "limit") != (limit is not None):
            raise invalid("limit orders require a limit price" if kind == "limit" else f"invalid type {kind}")
        if time_in_force not in ("day", "gtc", "ioc", "fok"):
            raise invalid("invalid time_in_force")
        if qty != qty.to_integral_value() and (kind, time_in_force) != ("market", "day"):
            raise invalid("fractional orders must be DAY orders")
        client = str(asked.get("client_order_id") or uuid.uuid4())
        if len(client) > 128:
            raise invalid("client_order_id must be no more than 128 characters")
        if any(order.client_order_id == client for order in self.orders.values()):
            raise Refused(422, 40010001, "client_order_id must be unique")
        return Order(symbol, qty, side, kind, time_in_force, limit, client, now)

    def _check(self, order: Order) -> None:
        """What Alpaca checks before it takes an order."""
        waiting = [other for other in self.open_orders() if other.symbol == order.symbol]
        against = [other for other in waiting if other.side != order.side]
        if any(self._would_meet(order, other) for other in against):
            raise Refused(
                403, 40310000, "potential wash trade detected. use complex orders", existing_order_id=against[0].id
            )
        held = self.holding(order.symbol).qty
        if held * order.sign < 0:  # it closes; it must not open the other side as well
            reserved = sum((other.rest for other in waiting if other.side == order.side), Decimal(0))
            available = abs(held) - reserved
            if order.qty > available:
                message = (
                    f"insufficient qty available for order (requested: {text(order.qty)}, available: {text(available)})"
                )
                raise Refused(403, 40310000, message, symbol=order.symbol, available=text(available))
        else:
            price = order.limit_price or self.prices.get(order.symbol, Decimal(0))
            if order.qty * price > self.buying_power():
                raise Refused(403, 40310000, "insufficient buying power", buying_power=text(self.buying_power()))
            if order.sign < 0 and order.qty != order.qty.to_integral_value():
                raise Refused(403, 40310000, "fractional orders cannot be sold short")

    @staticmethod
    def _would_meet(one: Order, other: Order) -> bool:
        buy, sell = (one, other) if one.sign > 0 else (other, one)
        if buy.limit_price is None or sell.limit_price is None:
            return True
        return buy.limit_price >= sell.limit_price

    def accept(self, order: Order, now: datetime) -> None:
        """The exchange has it. It was told as new, and is filled if the price allows."""
        if order.status != "pending_new":
            return
        order.status, order.updated = "new" if self.open_market else "accepted", now
        self.tell(order.status, order, {})
        self.match(order, now)

    def match(self, order: Order, now: datetime) -> None:
        price = self.prices.get(order.symbol)
        if order.status not in ("new", "partially_filled") or price is None or not self.open_market:
            return
        limit = order.limit_price
        if limit is None or (price <= limit if order.sign > 0 else price >= limit):
            quantity = order.rest if order.at_most is None else min(order.rest, order.at_most - order.filled_qty)
            if quantity > 0:
                self._fill(order, quantity, price, now)

    def _fill(self, order: Order, quantity: Decimal, price: Decimal, now: datetime) -> None:
        order.filled_qty += quantity
        order.paid += quantity * price
        order.updated = now
        self.cash -= order.sign * quantity * price
        holding = self.holdings.setdefault(order.symbol, Holding())
        holding.take(order.sign * quantity, price)
        over = order.rest == 0
        order.status = "filled" if over else "partially_filled"
        if over:
            order.moments["filled"] = now
        more = {"price": text(price), "qty": text(quantity), "position_qty": text(holding.qty)}
        self.tell("fill" if over else "partial_fill", order, {**more, "execution_id": str(uuid.uuid4())})

    def cancel(self, identifier: str, now: datetime) -> None:
        order = self.order(identifier)
        if order.status not in OPEN:
            raise invalid(f'order is already in "{order.status}" state')
        if order.status != "pending_cancel":
            order.status, order.updated = "pending_cancel", now
            self.tell("pending_cancel", order, {})

    def confirm_cancel(self, order: Order, now: datetime) -> None:
        if order.status == "pending_cancel" and not self.hold_cancels:
            order.status, order.updated = "canceled", now
            order.moments["canceled"] = now
            self.tell("canceled", order, {})

    def reject(self, order: Order, now: datetime) -> None:
        """The exchange's, after the order was taken."""
        order.status, order.updated = "rejected", now
        order.moments["rejected"] = now
        self.tell("rejected", order, {})

    def set_price(self, symbol: str, price: Decimal, now: datetime) -> None:
        self.prices[symbol] = price
        for order in list(self.open_orders()):
            if order.symbol == symbol:
                self.match(order, now)

    def set_market(self, is_open: bool, now: datetime) -> None:
        self.open_market = is_open
        for order in list(self.open_orders()):
            if is_open and order.status == "accepted":
                order.status, order.updated = "new", now
                self.tell("new", order, {})
            self.match(order, now)

    def order(self, identifier: str) -> Order:
        try:
            return self.orders[identifier]
        except KeyError:
            raise Refused(404, 40410000, f"order not found for {identifier}") from None

    def open_orders(self) -> Iterator[Order]:
        return (order for order in self.orders.values() if order.status in OPEN)

    def holding(self, symbol: str) -> Holding:
        return self.holdings.get(symbol, Holding())

    def equity(self) -> Decimal:
        return self.cash + sum((held.qty * self.price(name, held) for name, held in self.holdings.items()), Decimal(0))

    def buying_power(self) -> Decimal:
        used = sum((abs(held.qty) * self.price(name, held) for name, held in self.holdings.items()), Decimal(0))
        return max(Decimal(0), self.equity() * _MULTIPLIER - used)

    def price(self, symbol: str, held: Holding) -> Decimal:
        return self.prices.get(symbol, held.cost / held.qty if held.qty else Decimal(0))
