"""Prices for the simulated Alpaca, in place of the package with the real ones."""

from __future__ import annotations


def __getattr__(name: str) -> dict[str, list[float]]:
    if name.startswith("_"):
        raise AttributeError(name)
    prices = {"open": 100.0, "high": 104.0, "low": 97.0, "close": 102.0, "volume": 1e6}
    return {column: [value] * 250 for column, value in prices.items()}
