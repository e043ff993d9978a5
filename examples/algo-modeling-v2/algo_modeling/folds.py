# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nested walk-forward folds. Time only runs forward: every span is judged by what lies strictly before it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Days from `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Fold:
    """Parameters are fitted on `train`, inner folds compared on `validation`, the winner judged on `test`."""

    outer: int
    inner: int
    train: Span
    validation: Span
    test: Span


def nested(days: int, outer: int, inner: int, first: float = 0.5) -> list[Fold]:
    """Split `days` into `outer` test spans behind the first part, and what lies before each once more the same way.

    Outer fold X is tested on the X-th of equal spans of the last days. Of the days before it, the first part is
    always for training, and the rest is divided into `inner` validation spans; inner fold Y trains on all that
    lies before its validation span.
    """
    if outer < 1 or inner < 1:
        raise ValueError(f"There must be at least one outer and one inner fold, not {outer} and {inner}")
    folds = []
    for x, test in enumerate(_walk(days, outer, first)):
        for y, validation in enumerate(_walk(test.start, inner, first)):
            folds.append(Fold(x, y, Span(0, validation.start), validation, test))
    return folds


def _walk(days: int, count: int, first: float) -> list[Span]:
    begin = int(days * first)
    width = (days - begin) // count
    if width < 20:
        raise ValueError(f"{days} days are too few for {count} folds of at least 20 days each")
    ends = [*(begin + width * (number + 1) for number in range(count - 1)), days]
    return [Span(begin + width * number, end) for number, end in enumerate(ends)]
