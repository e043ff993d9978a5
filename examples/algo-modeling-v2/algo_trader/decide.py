# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a wanted position to the next order, within the limits. Pure functions of plain values."""

from __future__ import annotations

from dataclasses import dataclass

from .config import Limits


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def target(signal: int, before: int, price: float, limits: Limits) -> int:
    """In shares. It is settled when the model changes its mind, and does not follow every price after that."""
    most = int(limits.max_position // price)
    if signal != sign(before):
        return signal * most
    return max(-most, min(most, before))


def allowed(wanted: int, held: int, *, reduce_only: bool, close: bool) -> int:
    """What may be held at most of what is wanted: `close` nothing, `reduce_only` nothing new."""
    if close or (reduce_only and wanted * held <= 0):
        return 0
    return sign(held) * min(abs(wanted), abs(held)) if reduce_only else wanted


@dataclass(frozen=True)
class Step:
    """Shares to buy, or to sell if negative; 0 with the reason why nothing is done."""

    qty: int
    reason: str = ""


def step(wanted: int, held: int, account: int, price: float, limits: Limits) -> Step:
    """One order towards what is wanted. Alpaca takes none that crosses zero in the account."""
    change = wanted - held
    if change == 0:
        return Step(0)
    if held * wanted < 0:
        change = -held
    closes = held * change < 0
    if account * change < 0:
        change = sign(change) * min(abs(change), abs(account))
    most = int(limits.max_order // price) if price > 0 else abs(change)  # a drain closes without a price as well
    if closes:
        most = max(most, 1)  # a share that costs more than an order may must not keep a position open
    if most == 0:
        return Step(0, f"one share at {price:g} costs more than max_order {limits.max_order:g}")
    return Step(sign(change) * min(abs(change), most))
