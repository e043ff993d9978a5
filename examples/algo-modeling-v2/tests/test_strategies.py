from __future__ import annotations

import numpy as np
import pytest
from algo_modeling.data import SYMBOLS, load
from algo_modeling.strategies import STRATEGIES, Strategy
from hypothesis import given, settings
from hypothesis import strategies as st

kinds = pytest.mark.parametrize("kind", sorted(STRATEGIES))


@kinds
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_position_knows_nothing_of_later_days(kind: str, data: st.DataObject) -> None:
    strategy = STRATEGIES[kind]
    parameters = data.draw(st.sampled_from(list(strategy.candidates())))
    end = data.draw(st.integers(1, 600))
    close = load("MSFT").close[:700]
    other = close.copy()
    other[end:] *= data.draw(st.floats(0.1, 10))
    known = strategy.positions(close[:end], parameters)
    np.testing.assert_array_equal(strategy.positions(close, parameters)[:end], known)
    np.testing.assert_array_equal(strategy.positions(other, parameters)[:end], known)


@kinds
def test_positions_do_not_depend_on_the_unit_of_the_price(kind: str) -> None:
    """Adjusted prices are rescaled by every later split and dividend; that must not matter."""
    close = load("AAPL").close
    for parameters in STRATEGIES[kind].candidates():
        before = STRATEGIES[kind].positions(close, parameters)
        np.testing.assert_array_equal(STRATEGIES[kind].positions(close * 4, parameters), before)


@kinds
def test_every_candidate_takes_positions_within_bounds(kind: str) -> None:
    strategy: Strategy = STRATEGIES[kind]
    candidates = list(strategy.candidates())
    assert len(candidates) > 10
    for parameters in candidates:
        positions = strategy.positions(load("IBM").close, parameters)
        assert set(np.unique(positions)) <= {-1.0, 0.0, 1.0}
        assert len(np.unique(positions)) > 1


def test_momentum_is_long_in_a_rise_and_out_in_a_fall() -> None:
    close = np.concatenate((np.linspace(100, 200, 300), np.linspace(200, 100, 300)))
    positions = STRATEGIES["momentum"].positions(close, {"fast": 10, "slow": 50, "band": 0.0})
    assert np.max(positions[:49]) == 0
    assert np.min(positions[60:290]) == 1
    assert np.max(positions[400:]) == 0


def test_mean_reversion_sells_a_jump_and_buys_a_drop() -> None:
    close = 100 + np.tile([0.0, 1.0], 50)
    close[60], close[80] = 120, 80
    positions = STRATEGIES["mean_reversion"].positions(close, {"window": 10, "entry": 2.5, "exit": 0.5})
    assert (positions[59], positions[60], positions[80]) == (0, -1, 1)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_prices_are_years_of_real_days(symbol: str) -> None:
    prices = load(symbol)
    assert len(prices) > 2000
    assert prices.dates[-1] == "2013-03-01"
    assert np.abs(np.diff(np.log(prices.close))).max() < 0.75  # No split is taken for a crash.


def test_an_unknown_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="no prices for TSLA; there are for AAPL"):
        load("TSLA")
