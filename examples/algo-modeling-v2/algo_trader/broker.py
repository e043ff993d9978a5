# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker through alpaca-py: orders, position and clock as plain values, every failure as one exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import requests
from alpaca.common.enums import Sort
from alpaca.common.exceptions import APIError
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, QueryOrderStatus, TimeInForce
from alpaca.trading.models import Order as AlpacaOrder
from alpaca.trading.requests import GetOrdersRequest, MarketOrderRequest
from requests.adapters import HTTPAdapter

from .config import Config, Keys

CLOSED = frozenset({"filled", "canceled", "expired", "rejected", "replaced", "done_for_day"})
_TIMEOUT = 10.0
_PAGE = 500

T = TypeVar("T")


class BrokerError(Exception):
    """A request that failed. `refused`: the broker understood it and said no; otherwise its effect is unknown."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def refused(self) -> bool:
        return 400 <= self.status < 500 and self.status not in (408, 429)


@dataclass(frozen=True)
class Order:
    id: str
    client_id: str
    sign: int
    qty: Decimal
    filled: Decimal
    price: Decimal  # average of what is filled
    status: str
    submitted: datetime

    @property
    def open(self) -> bool:
        return self.status not in CLOSED

    @property
    def signed_fill(self) -> Decimal:
        return self.sign * self.filled

    @property
    def rest(self) -> Decimal:
        return self.sign * (self.qty - self.filled)


@dataclass(frozen=True)
class Clock:
    now: datetime
    is_open: bool
    changes: datetime


class _Adapter(HTTPAdapter):
    """alpaca-py sets no time limit: a broker that never answers would stop the loop for good."""

    def send(self, *request: Any, **options: Any) -> Any:
        options["timeout"] = options.get("timeout") or _TIMEOUT
        return super().send(*request, **options)


class Broker:
    def __init__(self, config: Config, keys: Keys) -> None:
        self._symbol = config.symbol
        paper = config.broker.paper
        self._client = TradingClient(keys.key_id, keys.secret_key, paper=paper, url_override=config.broker.url)
        # Its own retries sleep for seconds inside a request; the loop comes back anyway.
        self._client._retry = 0
        for scheme in ("http://", "https://"):
            self._client._session.mount(scheme, _Adapter())

    def orders(self, after: datetime | None = None) -> list[Order]:
        """All orders of the symbol in the account, by whoever, oldest first."""
        found: dict[str, Order] = {}
        while True:
            asked = GetOrdersRequest(
                status=QueryOrderStatus.ALL, symbols=[self._symbol], direction=Sort.ASC, limit=_PAGE, after=after
            )
            page = self._page(asked)
            new = [order for order in page if order.id not in found]
            found.update({order.id: order for order in page})
            if len(page) < _PAGE or not new:
                return sorted(found.values(), key=lambda order: order.submitted)
            after = page[-1].submitted  # its nanoseconds are cut off, so it comes again and nothing is left out

    def _page(self, asked: GetOrdersRequest) -> list[Order]:
        return [_order(order) for order in self._call("list the orders", lambda: self._client.get_orders(asked))]

    def by_client_id(self, client_id: str) -> Order | None:
        try:
            return _order(
                self._call(f"look up order {client_id}", lambda: self._client.get_order_by_client_id(client_id))
            )
        except BrokerError as error:
            if error.status == 404:
                return None
            raise

    def position(self) -> Decimal:
        """The account's, of all its models together."""
        try:
            found: Any = self._call("read the position", lambda: self._client.get_open_position(self._symbol))
        except BrokerError as error:
            if error.status == 404:
                return Decimal(0)
            raise
        return Decimal(found.qty)

    def clock(self) -> Clock:
        found: Any = self._call("read the clock", self._client.get_clock)
        return Clock(found.timestamp, found.is_open, found.next_close if found.is_open else found.next_open)

    def submit(self, client_id: str, signed: int) -> Order:
        request = MarketOrderRequest(
            symbol=self._symbol,
            qty=abs(signed),
            side=OrderSide.BUY if signed > 0 else OrderSide.SELL,
            time_in_force=TimeInForce.DAY,
            client_order_id=client_id,
        )
        return _order(self._call(f"place order {client_id}", lambda: self._client.submit_order(request)))

    def cancel(self, order: Order) -> None:
        try:
            self._call(f"cancel order {order.client_id}", lambda: self._client.cancel_order_by_id(order.id))
        except BrokerError as error:
            if error.status not in (404, 422):  # it has ended meanwhile; the next list shows how
                raise

    def _call(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except APIError as error:
            status = error.status_code or 0
            raise BrokerError(f"The broker refused to {what}: {status} {_message(error)}", status) from error
        except (requests.RequestException, ValueError, TypeError, AttributeError) as error:
            raise BrokerError(f"The broker failed to {what}: {error}") from error


def _message(error: APIError) -> str:
    try:
        return str(error.message)
    except (ValueError, KeyError):
        return str(error)[:200]


def _order(found: Any) -> Order:
    assert isinstance(found, AlpacaOrder)
    return Order(
        id=str(found.id),
        client_id=found.client_order_id,
        sign=1 if found.side == OrderSide.BUY else -1,
        qty=Decimal(str(found.qty or 0)),
        filled=Decimal(str(found.filled_qty or 0)),
        price=Decimal(str(found.filled_avg_price or 0)),
        status=found.status.value,
        submitted=found.submitted_at,
    )
