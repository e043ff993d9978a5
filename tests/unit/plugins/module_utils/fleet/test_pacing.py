# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pacing by token buckets, on a clock that only moves when somebody sleeps."""

from __future__ import annotations

from datetime import UTC, datetime

from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import (
    PUBLISHED_LIMITS,
    Limit,
    Pacer,
    TokenBucket,
    limit_for,
)


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC)


def test_a_full_bucket_is_spent_at_once_and_then_only_its_refill_counts() -> None:
    bucket = TokenBucket(5, 2, 0.0)
    assert [bucket.take(1, 0.0) for _take in range(7)] == [0, 0, 0, 0, 0, 0.5, 1.0]


def test_a_bucket_never_holds_more_than_its_capacity() -> None:
    bucket = TokenBucket(5, 2, 0.0)
    assert bucket.take(6, 1000.0) == 0.5


def test_a_run_of_requests_takes_the_time_that_the_limits_allow() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    for _take in range(1000):
        pacer.acquire("CreateTags")
    limit = PUBLISHED_LIMITS["CreateTags"]
    floor = (1000 - limit.bucket) / limit.refill
    assert floor <= clock.time <= 1.05 * floor


def test_the_instances_of_a_launch_have_a_budget_of_their_own() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    for _take in range(11):
        pacer.acquire("RunInstances", 100)
    # The thousand tokens are spent after ten launches; a hundred more come at two per second.
    assert clock.time >= 50


def test_a_refusal_slows_down_and_successes_bring_the_pace_back() -> None:
    clock = Clock()
    pacer = Pacer(clock)
    pacer.acquire("CreateTags")
    pacer.refused("CreateTags")
    before = clock.time
    for _take in range(10):
        pacer.acquire("CreateTags")
    slow = clock.time - before
    assert slow >= 10 / (PUBLISHED_LIMITS["CreateTags"].refill * 0.5)
    for _take in range(60):
        pacer.accepted("CreateTags")
    before = clock.time
    for _take in range(10):
        pacer.acquire("CreateTags")
    assert clock.time - before < slow


def test_clients_that_fail_together_do_not_come_back_together() -> None:
    waits = set()
    for seed in range(20):
        clock = Clock()
        Pacer(clock, seed=seed).back_off(3)
        waits.add(round(clock.time, 6))
        assert 0 < clock.time <= 4
    assert len(waits) == 20


def test_raised_and_own_limits_replace_the_published_ones() -> None:
    assert limit_for("RunInstances", factor=3) == Limit(15, 6, 3000, 6)
    own = {"RunInstances": Limit(1, 1)}
    assert limit_for("RunInstances", own, 3) == Limit(1, 1)
    assert limit_for("DescribeWhatever") == Limit(100, 20)
    assert limit_for("CreateWhatever") == Limit(50, 5)


def test_a_factor_of_zero_switches_pacing_off() -> None:
    clock = Clock()
    pacer = Pacer(clock, factor=0)
    for _take in range(10000):
        pacer.acquire("RunInstances", 100)
    assert clock.time == 0
