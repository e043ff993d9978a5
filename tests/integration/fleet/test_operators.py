# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two operators at once, and answers that lag behind."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from ec2_standin import KILL_AFTER, at_call


def at_once(*runs: Any) -> list[Any]:
    results: list[Any] = []

    def work(run: Any) -> None:
        results.append(run())

    threads = [threading.Thread(target=work, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("lag", [0.0, 2.0])
def test_two_operators_with_the_same_wish_make_one_fleet(world: Any, make: Any, lag: float) -> None:
    wanted = make(*range(12))
    world.standin.latency = 0.2
    world.standin.lag = lag
    results = at_once(*[lambda: world.run(wanted, launch_batch=3)] * 2)
    assert [result.message for result in results] == ["", ""]
    world.standin.lag = 0.0
    world.run(wanted)
    world.assert_exactly_one_each(wanted)
    # The same tokens: nothing was launched twice to begin with.
    assert world.standin.calls["TerminateInstances"] == 0


def test_two_operators_with_different_wishes_end_in_one_fleet_after_the_next_run(world: Any, make: Any) -> None:
    world.standin.latency = 0.2
    at_once(lambda: world.run(make(*range(8))), lambda: world.run(make(*range(2, 10))))
    world.standin.latency = 0.0
    wanted = make(*range(10))
    # However many second servers they left: this ends them. What nobody claimed waits until nobody can.
    assert not world.run(wanted, max_terminate_share=0).message
    assert not world.run(wanted, claim_grace=0).message
    world.assert_exactly_one_each(wanted)


def test_second_servers_of_racing_runs_block_no_later_run(world: Any, make: Any) -> None:
    """Runs that did not see each other at all, as descriptions that lag and a late claim make them."""
    first = make(*range(8))
    assert not world.run(first).message
    kept = {item["InstanceId"] for item in world.instances()}
    world.standin.forget_tokens()
    world.standin.hidden = kept
    assert not world.run(make(*range(2, 10)), launch_batch=1).message
    world.standin.hidden = set()
    assert len(world.instances()) == 16
    wanted = make(*range(10))
    now = world.clock.now()
    session = {
        "open": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
        "close": (now + timedelta(hours=1)).isoformat(timespec="seconds"),
    }
    result = world.run(wanted, session=session, max_terminate_share=0.2)
    assert not result.message
    world.assert_exactly_one_each(wanted)


def test_second_servers_of_an_hour_ago_count_against_the_share(world: Any, make: Any) -> None:
    wanted = make(*range(4))
    assert not world.run(wanted).message
    kept = {item["InstanceId"] for item in world.instances()}
    world.standin.forget_tokens()
    world.standin.hidden = kept
    assert not world.run(wanted, launch_batch=1).message
    world.standin.hidden = set()
    world.clock.sleep(3600)
    assert "4 are second servers of their model" in world.run(wanted).message
    assert len(world.instances()) == 8


def test_two_operators_replace_the_same_servers(world: Any, make: Any) -> None:
    wanted = make(*range(4))
    world.run(wanted)
    world.standin.latency = 0.2
    new = world.images[1]
    at_once(*[lambda: world.run(wanted, image_id=new, replace={"batch_size": 2})] * 2)
    world.standin.latency = 0.0
    assert not world.run(wanted, image_id=new, claim_grace=0).message
    world.assert_exactly_one_each(wanted)


def test_a_crash_whose_instances_are_not_described_yet_is_continued_by_its_tokens(world: Any, make: Any) -> None:
    wanted = make(*range(6))
    world.standin.lag = 10.0
    world.standin.fault = at_call(2, KILL_AFTER)
    assert world.run(wanted, subnet_ids=world.subnets[:1]).message
    assert len(world.instances()) == 6
    world.standin.revive()
    world.standin.be_young_again()
    result = world.run(wanted, subnet_ids=world.subnets[:1])
    assert not result.message
    # It asked for a launch, and got the instances of the dead run.
    assert world.standin.calls["RunInstances"] == 1
    world.assert_exactly_one_each(wanted)


def test_a_fleet_that_was_ended_can_be_made_again_at_once(world: Any, make: Any) -> None:
    """The tokens of the first launch are spent: their instances are terminated."""
    for _ in range(3):
        assert not world.run(make(0, 1)).message
        world.assert_exactly_one_each(make(0, 1))
        assert not world.run([], state="absent").message
        assert not world.instances()
