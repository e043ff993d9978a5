# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop: what the model wants, what it holds, and at most one open order between the two."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from . import decide, files
from .book import Book, prefix
from .broker import Broker, BrokerError, Clock
from .config import Config
from .log import log
from .notify import Notify

STATE_FORMAT = "algo-trader/state/1"
_IDLE_POLL = 30.0  # seconds; Alpaca allows 200 requests a minute for a whole account
_CLOCK_POLL = 60.0
_STALE = 300.0  # seconds; an order is not sized by an older price
_EXCHANGE = ZoneInfo("America/New_York")


def _pause(refusals: int) -> float:
    return min(300.0, 2.0**refusals)


class Trader:
    """Knows nothing of the feed: `loop` is told closes and price."""

    def __init__(self, config: Config, broker: Broker, notify: Notify) -> None:
        self.config, self.broker, self.notify = config, broker, notify
        state = files.read(config.state / files.STATE) or {}
        if state and (state.get("format"), state.get("prefix")) != (STATE_FORMAT, prefix(config)):
            raise ValueError(f"{config.state / files.STATE} is the state of {state.get('prefix')!r}, not of this model")
        self.book = Book(prefix(config), state.get("sequence"), state.get("last_order", ""))
        self.target = int(state.get("target", 0))
        self.closes: dict[str, float] = state.get("closes", {})
        self.price = float(state.get("price", 0))
        self.feed_lag: float | None = None
        self.day, self.day_start = str(state.get("day", "")), float(state.get("day_start", 0))
        self.stopped = str(state.get("stopped", ""))  # the day whose loss limit was reached
        self.note = ""
        self._saved: dict[str, Any] = state
        self._polled = self._clocked = -1e9
        self._refusals, self._not_before = 0, -1e9
        self._clock: Clock | None = None

    # State and health

    def save(self) -> None:
        state = {
            "format": STATE_FORMAT, "prefix": self.book.own, "sequence": self.book.sequence,
            "last_order": self.book.last_order, "position": float(self.book.position), "target": self.target,
            "price": self.price, "day": self.day, "day_start": self.day_start, "stopped": self.stopped,
            "closes": self.closes,
        }  # fmt: skip
        if state != self._saved:
            files.replace(self.config.state / files.STATE, state, durable=True)
            self._saved = state

    def report(self, state: str, reason: str = "", *, completed: bool = True) -> None:
        model = self.config.model
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        numbers = self.book.numbers(self.price)
        numbers["profit_and_loss"]["today"] = round(self.equity() - self.day_start, 2) if self.day else 0.0
        health = {
            "state": state, "last_loop": now if completed else None, "model": model.name, "version": model.version,
            "positions": int(self.book.position != 0), "open_orders": len(self.book.open()),
            "symbol": self.config.symbol, "price": self.price, "target": self.target, **numbers,
        }  # fmt: skip
        if self.feed_lag is not None:
            health["feed_lag"] = round(self.feed_lag, 1)
        if reason or self.note:
            health["reason"] = reason or self.note
        files.replace(self.config.run / files.HEALTH, health)

    def equity(self) -> float:
        return float(self.book.cash) + float(self.book.position) * self.price

    # One loop

    def loop(self, signal: int, price: float, age: float) -> None:
        self.note = ""
        fresh = price > 0 and age < _STALE
        if fresh:
            self.price = price
        clock = self._market()
        if self.book.open() or time.monotonic() - self._polled > _IDLE_POLL:
            self.refresh()
        if self.price:
            self._count_day(clock)
        halted = (self.config.run / files.HALT).exists()
        if halted:
            self.note = "halted"
        elif self.stopped and self.stopped == self.day:
            self.note = (
                f"max_daily_loss is reached on {self.day}: positions are closed, none is opened before the next day"
            )
        elif not fresh:
            self.note = f"no price for {_STALE:.0f} s; no order is placed" if self.price else "no price yet"
        if fresh:
            self.target = decide.target(signal, self.target, price, self.config.limits)
            closing = self.stopped == self.day
            wanted = decide.allowed(self.target, self._held(), reduce_only=halted, close=closing)
            self.approach(wanted, clock.is_open)
        elif halted:
            self.approach(decide.allowed(self.target, self._held(), reduce_only=True, close=False), market_open=False)
        self.save()
        stopped = halted or (self.stopped and self.stopped == self.day)
        self.report("halted" if stopped else "trading")
        self.notify("WATCHDOG=1")

    def refresh(self) -> None:
        self.book.refresh(self.broker)
        self._polled = time.monotonic()

    def _held(self) -> int:
        return int(self.book.position)

    def _market(self) -> Clock:
        elapsed = time.monotonic() - self._clocked
        over = self._clock is not None and datetime.now(UTC) >= self._clock.changes
        if self._clock is None or elapsed > _CLOCK_POLL or over:
            self._clock = self.broker.clock()
            self._clocked = time.monotonic()
        return self._clock

    def _count_day(self, clock: Clock) -> None:
        """The day's profit and loss begins at the day before's last price, or at the first one seen."""
        now = clock.now.astimezone(_EXCHANGE)
        day = now.date().isoformat()
        if day != self.day:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            position, cash = self.book.before(midnight)
            self.day, self.day_start = (
                day,
                float(cash) + float(position) * float(self._saved.get("price") or self.price),
            )
        loss = self.day_start - self.equity()
        if loss >= self.config.limits.max_daily_loss and self.stopped != day:
            self.stopped = day
            log("max_daily_loss is reached", loss=round(loss, 2), day=day)

    def approach(self, wanted: int, market_open: bool) -> None:
        """Cancels an open order that leads elsewhere, or places the next one."""
        held = self._held()
        waiting = self.book.open()
        for order in waiting:
            if (
                not 0 < order.rest * decide.sign(wanted - held) <= abs(wanted - held)
                and order.status != "pending_cancel"
            ):
                log("cancel", order=order.client_id)
                self.broker.cancel(order)
        if waiting or wanted == held or not market_open or time.monotonic() < self._not_before:
            return
        self.refresh()  # an order is never based on what was true half a minute ago
        next_step = decide.step(wanted, self._held(), int(self.book.account), self.price, self.config.limits)
        if next_step.reason:
            self.note = next_step.reason
        if next_step.qty and not self.book.open() and not self._was_rejected():
            self._place(next_step.qty)

    def _was_rejected(self) -> bool:
        """Whether the exchange has rejected the last orders; they are repeated more and more rarely."""
        rejected = self.book.rejected()
        if not rejected:
            return False
        again = rejected[-1].submitted + timedelta(seconds=_pause(len(rejected)))
        if datetime.now(UTC) < again:
            self.note = f"order {rejected[-1].client_id} was rejected; the next attempt is after {again:%H:%M:%S} UTC"
            return True
        return False

    def _place(self, qty: int) -> None:
        client_id = self.book.next_id()
        self.book.attempt(client_id)
        self.save()  # before the request: after a crash the same number is used again, and can't make a second order
        try:
            order = self.broker.submit(client_id, qty)
        except BrokerError as error:
            found = self.broker.by_client_id(client_id)
            if found is None:
                if not error.refused:
                    raise
                self._refusals += 1
                self._not_before = time.monotonic() + _pause(self._refusals)
                self.note = str(error)
                log("refused", order=client_id, qty=qty, reason=str(error))
                return
            order = found
        self._refusals = 0
        self.book.take(order)
        self.save()
        log("order", order=client_id, qty=order.sign * int(order.qty), price=self.price)
