# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many models against AWS's published limits, on a clock that does not wait."""

from __future__ import annotations

import os
import threading
from typing import Any

from ec2_standin import LIMITS, RESOURCE_LIMITS

# moto takes minutes for a thousand instances, whatever the clock says. `ALGO_FLEET_MODELS=1000` asks for them.
MODELS, PER_LAUNCH = int(os.environ.get("ALGO_FLEET_MODELS", "400")), 100


def floor_seconds() -> float:
    """What no client can be faster than: each operation's bucket is full at first, then only its refill counts."""

    def wait(amount: float, bucket: float, refill: float) -> float:
        return max(0.0, (amount - bucket) / refill)

    return max(
        wait(MODELS, *LIMITS["CreateTags"]),
        wait(MODELS / PER_LAUNCH, *LIMITS["RunInstances"]),
        wait(MODELS, *RESOURCE_LIMITS["RunInstances"]),
    )


def test_new_models_run_near_the_floor_and_no_request_is_refused(world: Any, make: Any) -> None:
    wanted = make(*range(MODELS))
    world.standin.enforce = True
    world.standin.latency = 0.2
    result = world.run(wanted)
    seconds = world.clock.monotonic()
    assert not result.message
    assert not world.standin.refused
    assert seconds <= 1.15 * floor_seconds(), f"{seconds:.1f} s, floor {floor_seconds():.1f} s"
    assert all(server["state"] == "running" for server in result.servers)
    world.assert_exactly_one_each(wanted)
    calls = world.standin.calls
    assert calls["CreateTags"] == MODELS
    # Batches of at most a hundred, evenly over the subnets.
    assert calls["RunInstances"] <= MODELS / PER_LAUNCH + 1
    assert sum(calls.values()) - MODELS - calls["RunInstances"] <= 4

    world.standin.revive()
    second = world.run(wanted)
    assert not second.changed
    assert dict(world.standin.calls) == {"DescribeInstances": 1}


def test_with_half_of_the_budget_eaten_it_slows_down_and_still_finishes(world: Any, make: Any) -> None:
    wanted = make(*range(150))
    world.standin.enforce = True
    world.standin.latency = 0.2
    over = threading.Event()

    def eat() -> None:
        # Half of the burst and then half of the refill.
        world.standin.other_client("CreateTags", LIMITS["CreateTags"][0] / 2)
        while not over.is_set():
            world.clock.sleep(1.0)
            world.standin.other_client("CreateTags", LIMITS["CreateTags"][1] / 2)

    other = threading.Thread(target=eat, daemon=True)
    other.start()
    try:
        result = world.run(wanted, wait_timeout=7200)
    finally:
        over.set()
    assert not result.message
    world.assert_exactly_one_each(wanted)
    refused, sent = world.standin.refused["RequestLimitExceeded"], world.standin.calls["CreateTags"]
    # It learns from refusals instead of insisting: most of what is sent is accepted.
    assert 0 < refused < 0.35 * sent
    assert result.refusals["throttled"] == refused


def test_a_start_of_many_keeps_the_budget_of_its_own(world: Any, make: Any) -> None:
    wanted = make(*range(30))
    world.run(wanted)
    world.run(wanted, power="stopped")
    world.standin.revive()
    world.standin.enforce = True
    result = world.run(wanted)
    assert not result.message
    assert not world.standin.refused
    assert dict(world.standin.calls) == {"DescribeInstances": 2, "StartInstances": 1}
    world.assert_exactly_one_each(wanted)
