from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from algo_modeling.artifact import files_of
from algo_modeling.data import Prices, load
from algo_modeling.folds import Span
from algo_modeling.strategies import STRATEGIES
from algo_modeling.training import COST, benchmark, judge, train

kinds = pytest.mark.parametrize("kind", sorted(STRATEGIES))


def changed_from(prices: Prices, day: int) -> Prices:
    """The same past with another future."""
    close = prices.close.copy()
    close[day:] *= np.linspace(1, 3, len(close) - day) * np.where(np.arange(len(close) - day) % 2, 0.9, 1.1)
    return replace(prices, close=close)


@kinds
def test_the_future_changes_no_model_of_the_past(kind: str) -> None:
    prices = load("GOOG")
    for model in train(STRATEGIES[kind], prices, 2, 2):
        fold = model.fold
        for day, unchanged in (
            (fold.train.end, ["parameters", "train"]),
            (fold.validation.end, ["parameters", "train", "validation"]),
            (fold.test.end, ["parameters", "train", "validation", "test", "benchmark"]),
        ):
            if day == len(prices):
                continue
            others = train(STRATEGIES[kind], changed_from(prices, day), 2, 2)
            other = next(other for other in others if other.fold == fold)
            assert [getattr(other, name) for name in unchanged] == [getattr(model, name) for name in unchanged]
            assert files_of(other)["model.json"] == files_of(model)["model.json"]
            if day == fold.train.end:
                assert other.validation != model.validation


@kinds
def test_the_past_does_change_the_model_file(kind: str) -> None:
    prices = load("GOOG")
    model = next(train(STRATEGIES[kind], prices, 2, 2))
    other = next(train(STRATEGIES[kind], changed_from(prices, 100), 2, 2))
    assert files_of(other)["model.json"] != files_of(model)["model.json"]


@kinds
def test_the_best_inner_fold_on_validation_is_chosen_and_the_test_is_not_asked(kind: str) -> None:
    models = list(train(STRATEGIES[kind], load("AAPL"), 2, 3))
    for outer in range(2):
        group = [model for model in models if model.fold.outer == outer]
        (chosen,) = (model for model in group if model.chosen)
        assert chosen.validation["sharpe"] == max(model.validation["sharpe"] for model in group)


def test_a_position_earns_the_next_day_and_pays_for_the_turn() -> None:
    prices = Prices("X", tuple(f"2020-01-{day:02}" for day in range(1, 7)), np.array([1.0, 2, 1, 2, 1, 2]))
    wise_too_late = replace(
        STRATEGIES["momentum"], positions=lambda close, _: np.concatenate(([0.0], np.where(np.diff(close) > 0, 1.0, 0)))
    )
    # Up days are known when they are over, and each is followed by a fall to the half.
    metrics = judge(wise_too_late, prices, {}, Span(0, 6))
    assert metrics["days"] == 5
    assert metrics["max_drawdown"] > 0.7
    held = benchmark(prices, Span(0, 6))
    assert held["turns"] == 1
    assert held["annual_return"] == pytest.approx((2 - COST) ** (252 / 5) - 1, rel=1e-2)


def test_metrics_are_plain_finite_json() -> None:
    for model in train(STRATEGIES["mean_reversion"], load("MSFT"), 2, 2):
        files = files_of(model)
        assert json.loads(files["metrics.json"])["test"] == {
            "from": model.prices.dates[model.fold.test.start],
            "to": model.prices.dates[model.fold.test.end - 1],
            **model.test,
        }
