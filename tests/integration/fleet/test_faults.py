# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill the client, cut its connection or lose an answer, at every single call: the next run puts everything right."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import FleetError
from ec2_standin import CUT, KILL_AFTER, KILL_BEFORE, LOSE, at_call

# What there was, what is wanted, and how: (models before, settings before, models after, settings after).
SCENARIOS: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...], dict[str, Any]]] = {
    "create": ((), {}, (0, 1, 2), {}),
    "create more": ((0,), {}, (0, 1, 2), {}),
    "exchange some": ((0, 1), {}, (1, 2), {"max_terminate_share": 0.5}),
    "replace with surge": ((0, 1), {}, (0, 1), {"image": 1, "replace": {"batch_size": 1}}),
    "replace in place": ((0, 1), {}, (0, 1), {"image": 1, "replace": {"batch_size": 2, "surge": False}}),
    "new version": ((0, 1), {}, (0, 1), {"version": "v2", "replace": {"batch_size": 1}}),
    "new configuration, restarted": (
        (0,),
        {},
        (0,),
        {"configuration": {"size": 2}, "on_change": {"configuration": "restart"}},
    ),
    "start": ((0, 1), {"power": "stopped"}, (0, 1), {}),
}


def faults_worth_trying(number: int, operation: str) -> tuple[str, ...]:
    """Dying before a call is dying after the one before it, and a question that was asked leaves no trace."""
    if number == 1:
        return (CUT, LOSE, KILL_BEFORE)
    return (CUT,) if operation.startswith("Describe") else (CUT, LOSE, KILL_AFTER)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_next_run_leaves_exactly_one_claimed_server_per_model(world: Any, make: Any, name: str) -> None:
    """Each fault at each call, on a world prepared anew for each."""
    before, how_before, after, how_after = SCENARIOS[name]
    version = how_after.get("version", "v1")
    settings = {key: value for key, value in how_after.items() if key not in ("image", "version")}
    settings |= {"launch_batch": 2, "image_id": world.images[how_after.get("image", 0)]}
    wanted = make(*after, version=version)
    foreign = world.direct.run_instances(
        ImageId=world.images[0],
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "Project", "Value": "algo-trading"},
                    {"Key": "Environment", "Value": "somebody-else"},
                    {"Key": "Model", "Value": wanted[0]["name"]},
                ],
            }
        ],
    )["Instances"][0]["InstanceId"]

    def prepare() -> None:
        world.forget()
        if before:
            assert not world.run(make(*before)).message
            if how_before:
                assert not world.run(make(*before), **how_before).message
        world.standin.revive()

    prepare()
    assert not world.run(wanted, **settings).message
    world.assert_exactly_one_each(wanted)
    history = list(world.standin.history)
    assert len(history) >= 3
    for number, operation in enumerate(history, start=1):
        for fault in faults_worth_trying(number, operation):
            prepare()
            world.standin.fault = at_call(number, fault)
            if fault in (KILL_BEFORE, KILL_AFTER):
                with suppress(FleetError):  # a dead client ends somehow
                    world.run(wanted, **settings)
            else:
                first = world.run(wanted, **settings)
                assert not first.message, f"{fault} at call {number}: {first.message}"
                world.assert_exactly_one_each(wanted)
            world.standin.revive()
            second = world.run(wanted, **settings)
            assert not second.message, f"{fault} at call {number}: {second.message}"
            world.assert_exactly_one_each(wanted)
            if number == 1:
                assert not world.run(wanted, **settings).changed
    still = world.instances("somebody-else")
    assert [item["InstanceId"] for item in still] == [foreign]
    assert still[0]["State"]["Name"] == "running"
