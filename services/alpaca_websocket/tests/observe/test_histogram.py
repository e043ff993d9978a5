# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alpaca_websocket.observe import Histogram

DURATIONS = st.integers(0, 2**62)


@given(st.lists(DURATIONS, min_size=1), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_never_too_low_and_at_most_a_sixteenth_too_high(durations: list[int], share: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)

    [found] = histogram.percentiles([share])

    ordered = sorted(durations)
    exact = next(value for i, value in enumerate(ordered, 1) if i >= share * len(ordered))
    assert exact <= found <= exact * 17 / 16 + 1


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_what_came_after_a_copy_is_what_was_recorded_after_it(before: list[int], after: list[int]) -> None:
    histogram, only_after = Histogram(), Histogram()
    for duration in before:
        histogram.record(duration)
    copy = histogram.copy()
    for duration in after:
        histogram.record(duration)
        only_after.record(duration)

    since = histogram.since(copy)

    assert (since.counts, since.count, since.sum) == (only_after.counts, len(after), sum(after))


def test_nothing_recorded_has_percentiles_of_zero() -> None:
    assert Histogram().percentiles((0.5, 0.99)) == [0, 0]


def test_a_duration_below_zero_counts_as_none() -> None:
    histogram = Histogram()
    histogram.record(-5)
    assert (histogram.count, histogram.sum, histogram.percentiles([1.0])) == (1, 0, [0])


def test_cumulative_counts_end_in_all() -> None:
    histogram = Histogram()
    for duration in (10, 1_000, 1_000_000):
        histogram.record(duration, 2)
    assert histogram.cumulative((1, 100, 10_000, 10**12)) == [0, 2, 4, 6]
