# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two types of models. Each turns prices into positions, and looks at nothing later than the day it decides on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .data import Array

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class Strategy:
    """A type of model: the name of its one model, the parameters to search, and the decision itself."""

    type: str
    model: str
    grid: Mapping[str, tuple[float, ...]]
    positions: Callable[[Array, Parameters], Array]
    sensible: Callable[[Parameters], bool]

    def candidates(self) -> Iterator[dict[str, float]]:
        for values in itertools.product(*self.grid.values()):
            parameters = dict(zip(self.grid, values, strict=True))
            if self.sensible(parameters):
                yield parameters


def rolling_mean(values: Array, window: int) -> Array:
    """Mean of the last `window` values at each day; NaN until there are as many."""
    out = np.full(len(values), np.nan)
    if len(values) >= window:
        out[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=1)
    return out


def rolling_std(values: Array, window: int) -> Array:
    out = np.full(len(values), np.nan)
    if len(values) >= window:
        out[window - 1 :] = np.lib.stride_tricks.sliding_window_view(values, window).std(axis=1)
    return out


def _crossover(close: Array, parameters: Parameters) -> Array:
    """Long while the fast average of prices is above the slow one, otherwise out of the market."""
    fast = rolling_mean(close, int(parameters["fast"]))
    slow = rolling_mean(close, int(parameters["slow"]))
    return np.where(fast > slow * (1 + parameters["band"]), 1.0, 0.0)


def _reversion(close: Array, parameters: Parameters) -> Array:
    """Against a price that has run away from its average, until it is back near it."""
    logs = np.log(close)
    window = int(parameters["window"])
    spread = rolling_std(logs, window)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(spread > 1e-12, (logs - rolling_mean(logs, window)) / spread, np.nan)
    decisions = np.full(len(close), np.nan)
    decisions[np.abs(z) <= parameters["exit"]] = 0.0
    decisions[z >= parameters["entry"]] = -1.0
    decisions[z <= -parameters["entry"]] = 1.0
    # Between the thresholds yesterday's position stays.
    last = np.maximum.accumulate(np.where(np.isnan(decisions), -1, np.arange(len(decisions))))
    return np.where(last >= 0, decisions[np.maximum(last, 0)], 0.0)


STRATEGIES: dict[str, Strategy] = {
    "momentum": Strategy(
        type="momentum",
        model="sma",
        grid={"fast": (5, 10, 20, 40), "slow": (50, 100, 150, 200), "band": (0.0, 0.01)},
        positions=_crossover,
        sensible=lambda p: 2 * p["fast"] <= p["slow"],
    ),
    "mean_reversion": Strategy(
        type="mean_reversion",
        model="zscore",
        grid={"window": (10, 20, 40, 60), "entry": (1.0, 1.5, 2.0, 2.5), "exit": (0.0, 0.5)},
        positions=_reversion,
        sensible=lambda p: p["exit"] < p["entry"],
    ),
}
