# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this model has done and holds, by the broker's own record of its orders.

Several models may trade one symbol in one account, and the broker knows one position of it. A model's orders begin with
its prefix, and its position is the sum of their fills.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from .broker import Order
from .config import Config

_LONGEST_PREFIX = 100  # a client_order_id has at most 128 characters


class Record(Protocol):
    """What a broker tells of an account."""

    def orders(self, after: datetime | None = None) -> list[Order]: ...

    def position(self) -> Decimal: ...


class Unexplained(Exception):
    """Orders or positions that this code cannot account for; a person must look before it trades."""


def prefix(config: Config) -> str:
    name = f"{config.environment}:{config.model.name}"
    if len(name) > _LONGEST_PREFIX:
        name = f"{name[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"{name}:"


class Book:
    """`sequence` is the number of the last order that may have reached the broker."""

    def __init__(self, own: str, sequence: int | None = None, last_order: str = "") -> None:
        self.own = own
        self.sequence = sequence
        self.last_order = last_order  # the client_order_id of the last one that the broker is known to have
        self.orders: dict[str, Order] = {}
        self.account = Decimal(0)

    def refresh(self, broker: Record) -> None:
        """Reads orders and position until they belong to one moment, and checks that they explain each other."""
        first = self._take(broker)
        for _attempt in range(10):
            account = broker.position()
            second = self._take(broker)
            if first == second:
                break
            first = second
        else:
            raise Unexplained("the account's orders changed during ten readings in a row; try again")
        self.account = account
        if (explained := sum((order.signed_fill for order in self.orders.values()), Decimal(0))) != account:
            raise Unexplained(
                f"the account holds {account} shares and its orders explain {explained}; "
                "find out where the difference comes from (a split, a transfer, a reset account)"
            )
        self._check_own()

    def _take(self, broker: Record) -> list[tuple[str, Decimal]]:
        waiting = [order.submitted for order in self.orders.values() if order.open]
        latest = max((order.submitted for order in self.orders.values()), default=None)
        since = min(waiting, default=latest)
        # Orders of several processes may become visible out of order.
        self.orders.update({one.id: one for one in broker.orders(since and since - timedelta(minutes=2))})
        return sorted((one.id, one.filled) for one in self.orders.values())

    def _check_own(self) -> None:
        numbers = [number for order in self.mine() if (number := self._number(order)) is not None]
        highest = max(numbers, default=0)
        if self.sequence is not None and highest > self.sequence:
            raise Unexplained(
                f"order {self.own}{highest} was placed by another process; this one is at {self.sequence}"
            )
        if self.last_order and not any(order.client_id == self.last_order for order in self.mine()):
            raise Unexplained(
                f"the broker does not know order {self.last_order}; is this another account, or was it reset?"
            )
        self.sequence = max(highest, self.sequence or 0)
        if highest:
            self.last_order = f"{self.own}{highest}"

    def _number(self, order: Order) -> int | None:
        text = order.client_id.removeprefix(self.own)
        return int(text) if text.isascii() and text.isdigit() else None

    def next_id(self) -> str:
        """A number is used again until the broker is known to have the order: a repeated request can't double it."""
        assert self.sequence is not None
        known = any(self._number(order) == self.sequence for order in self.mine())
        return f"{self.own}{self.sequence + 1 if known or self.sequence == 0 else self.sequence}"

    def attempt(self, client_id: str) -> None:
        self.sequence = int(client_id.removeprefix(self.own))

    def take(self, order: Order) -> None:
        self.orders[order.id] = order
        self.last_order = order.client_id

    def mine(self) -> list[Order]:
        return [order for order in self.orders.values() if order.client_id.startswith(self.own)]

    def open(self) -> list[Order]:
        return [order for order in self.mine() if order.open]

    def rejected(self) -> list[Order]:
        """The last orders, as far as all of them were rejected."""
        latest = sorted(self.mine(), key=lambda order: order.submitted)
        kept = next((n for n, order in enumerate(reversed(latest)) if order.status != "rejected"), len(latest))
        return latest[len(latest) - kept :]

    @property
    def position(self) -> Decimal:
        return sum((order.signed_fill for order in self.mine()), Decimal(0))

    @property
    def cash(self) -> Decimal:
        """What buying and selling has brought."""
        return -sum((order.signed_fill * order.price for order in self.mine()), Decimal(0))

    def before(self, moment: datetime) -> tuple[Decimal, Decimal]:
        """Position and cash by the orders placed before."""
        earlier = [order for order in self.mine() if order.submitted < moment]
        position = sum((order.signed_fill for order in earlier), Decimal(0))
        return position, -sum((order.signed_fill * order.price for order in earlier), Decimal(0))

    def numbers(self, price: float) -> dict[str, Any]:
        """For those who look: orders, fills, position, profit and loss."""
        mine = self.mine()
        filled = [order for order in mine if order.filled]
        average = self._average()
        worth = self.position * Decimal(str(price))
        total = self.cash + worth
        unrealized = worth - self.position * average
        return {
            "position": float(self.position),
            "average_price": float(round(average, 4)),
            "orders": len(mine),
            "fills": len(filled),
            "shares_traded": float(sum((order.filled for order in filled), Decimal(0))),
            "profit_and_loss": {
                "realized": float(round(total - unrealized, 2)),
                "unrealized": float(round(unrealized, 2)),
                "total": float(round(total, 2)),
            },
        }

    def _average(self) -> Decimal:
        """The average price of what is held."""
        held = cost = Decimal(0)
        for order in sorted(self.mine(), key=lambda order: order.submitted):
            fill = order.signed_fill
            if held * fill >= 0:
                cost += fill * order.price
            elif abs(fill) <= abs(held):
                cost += cost / held * fill
            else:
                cost = (held + fill) * order.price
            held += fill
            cost = cost if held else Decimal(0)
        return cost / held if held else Decimal(0)
