# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends trading: no open order, the position closed or kept on purpose, the state on disk; or the reason why not."""

from __future__ import annotations

import time

from . import files
from .book import Unexplained
from .broker import BrokerError
from .log import log
from .trader import Trader

_PAUSE = 0.5


def drain(trader: Trader) -> bool:
    """Whether the broker has confirmed everything within `drain_seconds`."""
    config = trader.config
    deadline = time.monotonic() + config.drain_seconds
    log("draining", flatten=config.flatten_on_drain, seconds=config.drain_seconds)
    reason = ""
    trader.notify("STOPPING=1")
    while True:
        try:
            reason = _attempt(trader)
        except (BrokerError, Unexplained) as error:
            reason = str(error)
        trader.notify("WATCHDOG=1")
        if not reason or time.monotonic() > deadline:
            break
        trader.report("draining", reason)
        time.sleep(_PAUSE)
    trader.note = ""
    trader.save()
    if reason:
        reason = f"not drained within {config.drain_seconds} s: {reason}"
        log("not drained", reason=reason)
        trader.report("draining", reason)
        return False
    files.lower_flag(config.run / files.DRAIN)
    trader.report("drained")
    log("drained", position=float(trader.book.position))
    return True


def _attempt(trader: Trader) -> str:
    """One round; what is not confirmed yet, or nothing."""
    config, book = trader.config, trader.book
    try:
        trader.refresh()
    except Unexplained:
        _cancel(trader)  # no order stays open, whoever's the position is
        raise
    if config.flatten_on_drain and book.position:
        is_open = trader.broker.clock().is_open
        trader.approach(0, is_open)
        held = f"{book.position} shares of {config.symbol} are not closed"
        if not book.open():
            return held if is_open else f"{held}: the market is closed"
        return f"{held}: {_names(trader)} is open"
    _cancel(trader)
    if book.open():
        trader.refresh()
    return f"the broker has not confirmed that {_names(trader)} is cancelled" if book.open() else ""


def _cancel(trader: Trader) -> None:
    for order in trader.book.open():
        if order.status != "pending_cancel":
            trader.broker.cancel(order)


def _names(trader: Trader) -> str:
    return ", ".join(f"order {order.client_id} ({order.status})" for order in trader.book.open())
