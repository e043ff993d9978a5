# SPDX-License-Identifier: GPL-3.0-or-later
"""Durations in buckets of equal relative width, cheap enough to record every batch of messages."""

from __future__ import annotations

from collections.abc import Sequence

_BITS = 4  # sixteen buckets for each power of two: a percentile is at most 1/16 too high
_SUB = 1 << _BITS
_BUCKETS = (64 - _BITS) * _SUB


def _bucket(value: int) -> int:
    if value < _SUB:
        return max(value, 0)
    shift = value.bit_length() - _BITS - 1
    return min((shift << _BITS) + (value >> shift), _BUCKETS - 1)


def _upper(bucket: int) -> int:
    """The largest value that falls into the bucket."""
    if bucket < 2 * _SUB:
        return bucket
    shift = (bucket >> _BITS) - 1
    return ((bucket - (shift << _BITS) + 1) << shift) - 1


class Histogram:
    """Counts of durations in nanoseconds; negative ones (clocks that disagree) count as zero."""

    __slots__ = ("count", "counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.count = 0
        self.sum = 0

    def record(self, nanoseconds: int, times: int = 1) -> None:
        self.counts[_bucket(nanoseconds)] += times
        self.count += times
        self.sum += max(nanoseconds, 0) * times

    def copy(self) -> Histogram:
        other = Histogram()
        other.counts, other.count, other.sum = self.counts.copy(), self.count, self.sum
        return other

    def since(self, earlier: Histogram) -> Histogram:
        """What was recorded after `earlier`, a copy of this one, was taken."""
        other = Histogram()
        other.counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        other.count, other.sum = self.count - earlier.count, self.sum - earlier.sum
        return other

    def percentiles(self, shares: Sequence[float]) -> list[int]:
        """The duration in ns that each share (0.99, ascending) of what was recorded did not exceed; 0 when empty."""
        found: list[int] = []
        wanted = [share * self.count for share in shares]
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            while len(found) < len(wanted) and count and seen >= wanted[len(found)]:
                found.append(_upper(bucket))
        return found + [0] * (len(shares) - len(found))

    def cumulative(self, bounds: Sequence[int]) -> list[int]:
        """How many were at most each bound (ns, ascending), by whole buckets."""
        found, seen, bucket = [], 0, 0
        for bound in bounds:
            while bucket < _BUCKETS and _upper(bucket) <= bound:
                seen += self.counts[bucket]
                bucket += 1
            found.append(seen)
        return found
