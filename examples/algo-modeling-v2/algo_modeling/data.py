# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real price history: thirteen years of daily bars that come with the package bokeh_sampledata."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# FB is in the package too, with less than a year of prices: too short for nested folds.
SYMBOLS = ("AAPL", "GOOG", "IBM", "MSFT")


@dataclass(frozen=True)
class Prices:
    """Daily closes of one symbol, oldest first, adjusted for splits and dividends."""

    symbol: str
    dates: tuple[str, ...]
    close: Array

    def __post_init__(self) -> None:
        if len(self.dates) != len(self.close):
            raise ValueError(f"{self.symbol}: {len(self.dates)} dates, but {len(self.close)} prices")
        if list(self.dates) != sorted(set(self.dates)):
            raise ValueError(f"{self.symbol}: the dates do not ascend")
        if not (np.isfinite(self.close).all() and (self.close > 0).all()):
            raise ValueError(f"{self.symbol}: a price is not a positive number")

    def __len__(self) -> int:
        return len(self.dates)

    def until(self, end: int) -> Prices:
        """What was known after `end` days."""
        return Prices(self.symbol, self.dates[:end], self.close[:end])

    def digest(self) -> str:
        """SHA-256 over symbol, dates and prices."""
        lines = [f"{date},{price!r}" for date, price in zip(self.dates, self.close.tolist(), strict=True)]
        return hashlib.sha256("\n".join([self.symbol, *lines]).encode()).hexdigest()


def load(symbol: str) -> Prices:
    """The whole history of one symbol."""
    if symbol not in SYMBOLS:
        raise ValueError(f"There are no prices for {symbol}; there are for {', '.join(SYMBOLS)}")
    from bokeh_sampledata import stocks

    bars = getattr(stocks, symbol)
    return Prices(symbol, tuple(bars["date"]), np.asarray(bars["adj_close"], dtype=np.float64))
