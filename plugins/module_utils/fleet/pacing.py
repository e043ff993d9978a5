# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request pacing: AWS's published token buckets, kept on our side so that AWS never has to refuse.

One `Pacer` is shared by all threads of a run. A request that would overdraw a bucket sleeps first.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """The time, passed in so that tests and simulations can own it."""

    def monotonic(self) -> float:
        """Seconds since some start."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def now(self) -> datetime:
        """The date and time, with its zone."""


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Limit:
    """A request bucket, and for some operations a bucket of resource tokens, one per instance."""

    bucket: float
    refill: float
    resource_bucket: float = 0.0
    resource_refill: float = 0.0

    def scaled(self, factor: float) -> Limit:
        """The same limit in an account whose limits were raised (or are shared) by a factor."""
        return Limit(
            self.bucket * factor, self.refill * factor, self.resource_bucket * factor, self.resource_refill * factor
        )


_MUTATING = Limit(50, 5)
_DESCRIBE = Limit(100, 20)

# https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, per account, region and action.
PUBLISHED_LIMITS: dict[str, Limit] = {
    "RunInstances": Limit(5, 2, 1000, 2),
    "StartInstances": Limit(5, 2, 1000, 2),
    "StopInstances": Limit(50, 5, 1000, 20),
    "TerminateInstances": Limit(100, 5, 1000, 20),
    "CreateTags": Limit(100, 10),
    "DeleteTags": Limit(100, 10),
    "RebootInstances": _MUTATING,
    "ModifyInstanceAttribute": _MUTATING,
    "DescribeInstances": _DESCRIBE,
    "DescribeInstanceStatus": _DESCRIBE,
}

# Requests do not arrive evenly spaced as they were sent. A bucket that we believe to hold a tenth more than we use
# absorbs that.
_HEADROOM = 0.9
_REFILL_SHARE = 0.98
_LEAST_RATE = 0.05


def limit_for(operation: str, overrides: Mapping[str, Limit] | None = None, factor: float = 1.0) -> Limit:
    """The limit of one operation: an account's own number if given, else AWS's published one, times the factor."""
    if overrides and operation in overrides:
        return overrides[operation]
    default = _DESCRIBE if operation.startswith("Describe") else _MUTATING
    return PUBLISHED_LIMITS.get(operation, default).scaled(factor)


class TokenBucket:
    """A bucket that may be overdrawn: who overdraws it is told how long to wait. Not thread-safe by itself."""

    def __init__(self, capacity: float, refill: float, now: float) -> None:
        self.capacity = capacity
        self.refill = refill
        self._nominal = refill
        self._tokens = capacity
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take tokens and return the seconds until they would really be there."""
        self._advance(now)
        self._tokens -= amount
        return max(0.0, -self._tokens / self.refill)

    def refused(self, now: float) -> None:
        """AWS throttled: treat the bucket as empty and halve the pace."""
        self._advance(now)
        self._tokens = min(self._tokens, 0.0)
        self.refill = max(self.refill * 0.5, self._nominal * _LEAST_RATE)

    def accepted(self) -> None:
        """A success: return to the nominal pace slowly."""
        if self.refill < self._nominal:
            self.refill = min(self._nominal, self.refill + self._nominal * 0.01)

    def _advance(self, now: float) -> None:
        self._tokens = min(self.capacity, self._tokens + max(0.0, now - self._at) * self.refill)
        self._at = max(self._at, now)


class Pacer:
    """All buckets of a run. `factor` 0 switches pacing off (an emulator has no limits)."""

    def __init__(
        self,
        clock: Clock,
        *,
        factor: float = 1.0,
        limits: Mapping[str, Limit] | None = None,
        seed: int | None = None,
    ) -> None:
        self._clock = clock
        self._factor = factor
        self._limits = dict(limits or {})
        self._lock = threading.Lock()
        self._requests: dict[str, TokenBucket] = {}
        self._resources: dict[str, TokenBucket] = {}
        # Not cryptography: only keeps clients from retrying in step.
        self._random = random.Random(seed)  # noqa: S311 - spreads retries, keeps no secret
        self.waited = 0.0

    def acquire(self, operation: str, resources: int = 0, deadline: float | None = None) -> bool:
        """Wait until one request of this operation, for so many instances, fits the budget. False, at once, if that
        would be after the deadline."""
        if self._factor <= 0:
            return True
        with self._lock:
            now = self._clock.monotonic()
            wait = self._bucket(operation).take(1, now)
            if resources and operation in self._resources:
                wait = max(wait, self._resources[operation].take(resources, now))
            if deadline is not None and now + wait > deadline:
                return False
            self.waited += wait
        if wait > 0:
            self._clock.sleep(wait)
        return True

    def refused(self, operation: str) -> None:
        """AWS throttled a request of this operation."""
        if self._factor <= 0:
            return
        with self._lock:
            self._bucket(operation).refused(self._clock.monotonic())

    def accepted(self, operation: str) -> None:
        """A request of this operation went through."""
        if self._factor <= 0:
            return
        with self._lock:
            self._bucket(operation).accepted()

    def back_off(self, attempt: int, *, base: float = 0.5, cap: float = 30.0) -> None:
        """Sleep a random time that grows with the attempt, so that a failed batch does not come back in lockstep."""
        with self._lock:
            seconds = self._random.uniform(0.1, 1.0) * min(cap, base * 2**attempt)
        self._clock.sleep(seconds)

    def _bucket(self, operation: str) -> TokenBucket:
        bucket = self._requests.get(operation)
        if bucket is None:
            limit = limit_for(operation, self._limits, self._factor)
            now = self._clock.monotonic()
            bucket = TokenBucket(max(1.0, limit.bucket * _HEADROOM), limit.refill * _REFILL_SHARE, now)
            self._requests[operation] = bucket
            if limit.resource_bucket:
                self._resources[operation] = TokenBucket(limit.resource_bucket, limit.resource_refill, now)
        return bucket
