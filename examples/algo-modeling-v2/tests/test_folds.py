from __future__ import annotations

import itertools

import pytest
from algo_modeling.folds import nested
from hypothesis import given
from hypothesis import strategies as st


@given(days=st.integers(400, 5000), outer=st.integers(1, 4), inner=st.integers(1, 3))
def test_time_runs_forward_in_every_fold(days: int, outer: int, inner: int) -> None:
    folds = nested(days, outer, inner)
    assert [(fold.outer, fold.inner) for fold in folds] == [(x, y) for x in range(outer) for y in range(inner)]
    for fold in folds:
        assert 0 == fold.train.start < fold.train.end == fold.validation.start
        assert fold.validation.start < fold.validation.end <= fold.test.start < fold.test.end <= days


@given(days=st.integers(400, 5000), outer=st.integers(1, 4))
def test_test_spans_follow_each_other_to_the_last_day(days: int, outer: int) -> None:
    tests = [fold.test for fold in nested(days, outer, 1)]
    assert tests[-1].end == days
    assert all(before.end == after.start for before, after in itertools.pairwise(tests))


@pytest.mark.parametrize(
    ("days", "outer", "inner", "complaint"),
    [(30, 1, 1, "too few"), (1000, 50, 1, "too few"), (1000, 0, 1, "at least one"), (1000, 1, 0, "at least one")],
)
def test_impossible_folds_are_refused(days: int, outer: int, inner: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        nested(days, outer, inner)
