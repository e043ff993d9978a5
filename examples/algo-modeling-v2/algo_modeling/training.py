# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fit on the inner training span, choose on the validation span, judge on the outer test span."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .data import Prices
from .folds import Fold, Span, nested
from .strategies import Parameters, Strategy

COST = 0.0005  # of the turnover: spread and commission
DAYS_PER_YEAR = 252
DIGITS = 8  # fewer than floats have, so that another processor's last bit changes no artifact

Metrics = dict[str, float | int]


@dataclass(frozen=True)
class Trained:
    """One fold's model with what is known of it. `chosen` marks the best inner fold of its outer fold."""

    strategy: Strategy
    prices: Prices
    fold: Fold
    parameters: Parameters
    candidates: int
    train: Metrics
    validation: Metrics
    test: Metrics
    benchmark: Metrics
    chosen: bool = False

    @property
    def name(self) -> str:
        fold = f"outer_{self.fold.outer}_inner_{self.fold.inner}"
        return f"{self.strategy.type}/{self.prices.symbol}/{self.strategy.model}-{fold}"


def rounded(value: float) -> float:
    """The value to eight significant digits, without a negative zero."""
    return float(f"{value:.{DIGITS}g}") + 0.0 if math.isfinite(value) else 0.0


def judge(strategy: Strategy, prices: Prices, parameters: Parameters, span: Span) -> Metrics:
    """What trading would have brought in the span, after costs, in full knowledge of the past only."""
    known = prices.until(span.end)
    return _metrics(strategy.positions(known.close, parameters), known, span)


def benchmark(prices: Prices, span: Span) -> Metrics:
    """Buying at the beginning and holding, for comparison."""
    known = prices.until(span.end)
    return _metrics(np.ones(len(known)), known, span)


def _metrics(positions: np.ndarray, known: Prices, span: Span) -> Metrics:
    # A position decided on at one day's close earns the next day's return. That shift is the whole secret of not
    # looking ahead.
    begin = max(span.start, 1)
    returns = known.close[begin : span.end] / known.close[begin - 1 : span.end - 1] - 1
    held = positions[begin - 1 : span.end - 1]
    before = np.concatenate(([0.0], held[:-1]))
    net = held * returns - np.abs(held - before) * COST
    wealth = np.cumprod(1 + net)
    deviation = float(net.std())
    peak = np.maximum.accumulate(np.concatenate(([1.0], wealth)))[1:]
    return {
        "annual_return": rounded(float(wealth[-1]) ** (DAYS_PER_YEAR / len(net)) - 1),
        "annual_volatility": rounded(deviation * math.sqrt(DAYS_PER_YEAR)),
        "days": len(net),
        "exposure": rounded(float(np.abs(held).mean())),
        "max_drawdown": rounded(float(np.max(1 - wealth / peak))),
        "sharpe": rounded(float(net.mean()) / deviation * math.sqrt(DAYS_PER_YEAR) if deviation > 1e-12 else 0.0),
        "turns": int(np.count_nonzero(held != before)),
    }


def fit(strategy: Strategy, prices: Prices, train: Span) -> tuple[dict[str, float], Metrics, int]:
    """The parameters with the best Sharpe ratio on the training span; of equals the first."""
    known = prices.until(train.end)
    results = [(candidate, judge(strategy, known, candidate, train)) for candidate in strategy.candidates()]
    best, metrics = max(results, key=lambda result: result[1]["sharpe"])
    return best, metrics, len(results)


def train(strategy: Strategy, prices: Prices, outer: int, inner: int) -> Iterator[Trained]:
    """The models of all folds, outer fold by outer fold; in each, the best inner one on validation is `chosen`."""
    folds = nested(len(prices), outer, inner)
    for number in range(outer):
        group = [_train_fold(strategy, prices, fold) for fold in folds if fold.outer == number]
        best = max(group, key=lambda model: model.validation["sharpe"])
        yield from (Trained(**{**vars(model), "chosen": model is best}) for model in group)


def _train_fold(strategy: Strategy, prices: Prices, fold: Fold) -> Trained:
    parameters, metrics, candidates = fit(strategy, prices, fold.train)
    return Trained(
        strategy=strategy,
        prices=prices,
        fold=fold,
        parameters=parameters,
        candidates=candidates,
        train=metrics,
        validation=judge(strategy, prices, parameters, fold.validation),
        test=judge(strategy, prices, parameters, fold.test),
        benchmark=benchmark(prices, fold.test),
    )
