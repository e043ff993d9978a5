# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One bad key, one refused launch, one instance in an odd state: the others start, and the bad one is named."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.api import Ec2Api
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Pacer
from ec2_standin import Request, Shown, refusal

NO_KEY = ("Client.InternalError", "Client error on launch")


def refuse(operation: str, code: str, message: str = "refused by the stand-in", times: int = 10**6) -> Any:
    def decide(request: Request) -> Any:
        if request.operation == operation and request.number_of_operation <= times:
            return refusal(code, message)
        return None

    return decide


def stopped(world: Any, wanted: list[dict[str, Any]]) -> list[str]:
    """A fleet at night."""
    assert not world.run(wanted).message
    assert not world.run(wanted, power="stopped").message
    world.standin.revive()
    return sorted(item["InstanceId"] for item in world.instances())


def states(world: Any) -> Counter[str]:
    return Counter(item["State"]["Name"] for item in world.instances())


def launched(world: Any, asked: list[int]) -> Any:
    def dies(request: Request) -> tuple[str, str]:
        asked.append(int(request.form["MaxCount"]))
        return NO_KEY

    return dies


def test_launches_that_die_at_once_fail_the_run_with_the_cause_and_are_not_repeated(world: Any, make: Any) -> None:
    wanted, asked = make(*range(6)), []
    world.standin.dies = launched(world, asked)
    result = world.run(wanted)
    assert result.failed
    assert {entry["kind"] for entry in result.unplaced} == {"launch"}
    assert len(result.unplaced) == 6
    for words in ("Client.InternalError (Client error on launch)", "key", "kms:CreateGrant", "root_volume.kms_key_id"):
        assert words in result.message
    assert sum(asked) == 6
    # The next run, and the function, read it from the dead instances.
    again = world.run(wanted)
    assert again.failed
    assert "kms:CreateGrant" in again.message
    assert [line.held for line in again.plan.lines] == ["create"] * 6
    assert sum(asked) == 6
    # Other settings are another launch; and after a while the same is tried again.
    world.standin.dies = None
    one = world.run(wanted[:1], root_volume={"size": 9})
    assert not one.message
    world.clock.sleep(timedelta(minutes=11).total_seconds())
    assert not world.run(wanted).message
    world.assert_exactly_one_each(wanted)


def test_a_launch_that_dies_stops_no_other(world: Any, make: Any) -> None:
    world.standin.dies = lambda request: NO_KEY if request.form["InstanceType"] == "t3.micro" else None
    other = {"symbol": ["EURUSD"], "instance_types": ["t3.micro"], "user_data": "#!/bin/sh"}
    result = world.run(make(0, 1, 2), overrides=[other], root_volume={"kms_key_id": "alias/theirs"})
    assert [entry["model"] for entry in result.unplaced] == [make(1)[0]["name"]]
    assert "the key alias/theirs" in result.message
    assert states(world) == {"running": 2}


def test_a_server_that_falls_back_when_it_is_started_is_named_with_the_cause(world: Any, make: Any) -> None:
    ids = stopped(world, make(0, 1, 2))
    world.standin.shown[ids[0]] = Shown("stopped", NO_KEY)
    result = world.run(make(0, 1, 2))
    assert len(result.unplaced) == 1
    assert "kms:CreateGrant" in result.message
    assert world.clock.monotonic() < 60


@pytest.mark.parametrize("code", ["AuthFailure", "OptInRequired", "UnauthorizedOperation"])
def test_what_exists_is_started_though_a_launch_is_refused(world: Any, make: Any, code: str) -> None:
    stopped(world, make(*range(20)))
    world.standin.fault = refuse("RunInstances", code, "Not authorized for images: [ami-0]")
    result = world.run(make(*range(21)))
    assert states(world) == {"running": 20}
    assert world.standin.history.index("StartInstances") < world.standin.history.index("RunInstances")
    assert [(entry["model"], entry["kind"]) for entry in result.unplaced] == [(make(20)[0]["name"], "denied")]
    assert code in result.message


def odd_one(operation: str, id_: str, *, named: bool) -> Any:
    name = f"The instance '{id_}' is not in a state from which this can be done."

    def decide(request: Request) -> Any:
        if request.operation == operation and id_ in request.instances:
            return refusal("IncorrectInstanceState", name if named else "An instance is in a wrong state.")
        return None

    return decide


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("operation", "before", "change", "after"),
    [
        ("StartInstances", "stopped", {}, {"running": 19, "stopped": 1}),
        ("StopInstances", "running", {"power": "stopped"}, {"stopped": 19, "running": 1}),
        ("TerminateInstances", "running", {"state": "absent"}, {"running": 1}),
    ],
)
def test_one_instance_in_a_wrong_state_does_not_cost_the_others_their_turn(
    world: Any, make: Any, named: bool, operation: str, before: str, change: dict[str, Any], after: dict[str, int]
) -> None:
    wanted = make(*range(20))
    ids = stopped(world, wanted)
    if before == "running":
        assert not world.run(wanted).message
        world.standin.revive()
    world.standin.fault = odd_one(operation, ids[7], named=named)
    result = world.run([] if change.get("state") else wanted, **change)
    assert states(world) == after
    assert [entry["kind"] for entry in result.unplaced] == ["state"]
    assert ids[7] in result.message
    assert "network" not in result.message
    assert world.standin.calls[operation] <= (2 if named else 2 * 6)


@pytest.mark.parametrize("named", [True, False])
def test_one_instance_that_can_not_be_tagged_does_not_cost_the_others_their_tags(
    world: Any, make: Any, named: bool
) -> None:
    wanted = make(*range(6))
    assert not world.run(wanted).message
    ids = sorted(item["InstanceId"] for item in world.instances())
    world.standin.fault = odd_one("CreateTags", ids[3], named=named)
    result = world.run(wanted, tags={"Team": "quant"})
    tagged = {item["InstanceId"] for item in world.instances() if {"Key": "Team", "Value": "quant"} in item["Tags"]}
    assert tagged == set(ids) - {ids[3]}
    assert len(result.unplaced) == 1


def test_a_note_that_can_not_be_cleared_keeps_no_server_stopped(world: Any, make: Any) -> None:
    ids = stopped(world, make(*range(5)))
    world.direct.create_tags(Resources=ids, Tags=[{"Key": "DrainAsked", "Value": "2025-06-02T20:00:00+00:00"}])
    world.standin.fault = refuse("CreateTags", "UnauthorizedOperation", "You are not authorized")
    result = world.run(make(*range(5)))
    assert states(world) == {"running": 5}
    assert [entry["kind"] for entry in result.unplaced] == ["denied"] * 5
    assert "Cannot tag instances" in result.message


def test_a_server_does_not_start_before_it_can_read_its_new_version(world: Any, make: Any) -> None:
    stopped(world, make(0))
    world.standin.fault = refuse("CreateTags", "UnauthorizedOperation", "You are not authorized")
    result = world.run(make(0, version="v2"))
    assert states(world) == {"stopped": 1}
    assert [entry["kind"] for entry in result.unplaced] == ["denied"]
    world.standin.revive()
    assert not world.run(make(0, version="v2")).message
    assert world.standin.history.index("CreateTags") < world.standin.history.index("StartInstances")
    world.assert_exactly_one_each(make(0, version="v2"))


def test_an_endpoint_that_ignores_the_filter_adds_no_server_to_the_fleet(world: Any, make: Any) -> None:
    ids = stopped(world, make(0, 1))
    strange = world.direct.run_instances(ImageId=world.images[0], MinCount=1, MaxCount=1, SubnetId=world.subnets[0])[
        "Instances"
    ][0]["InstanceId"]
    api = Ec2Api(world.client, Pacer(world.clock), world.clock)
    send = world.direct.describe_instances
    world.client.describe_instances = lambda **asked: send()
    assert strange in {item["InstanceId"] for found in send()["Reservations"] for item in found["Instances"]}
    assert sorted(item.id for item in api.describe_ids(ids)) == ids


def test_one_that_is_stuck_in_stopping_delays_nobody(world: Any, make: Any) -> None:
    ids = stopped(world, make(*range(20)))
    world.standin.shown[ids[4]] = Shown("stopping")
    started: dict[str, float] = {}

    def watch(request: Request) -> Any:
        if request.operation == "StartInstances":
            started.update(dict.fromkeys(request.instances, world.clock.monotonic()))
        return None

    world.standin.fault = watch
    begun = world.clock.monotonic()
    result = world.run(make(*range(20)))
    assert set(started) == set(ids) - {ids[4]}
    assert max(started.values()) - begun < 5
    assert [entry["kind"] for entry in result.unplaced] == ["state"]
    assert f"{ids[4]} is stopping and cannot be started yet" in result.message
    # The moment it has stopped, it is started.
    world.standin.shown.clear()
    assert not world.run(make(*range(20))).message
    assert states(world) == {"running": 20}


def rooms(world: Any, room: dict[str, int]) -> Any:
    def decide(request: Request) -> Any:
        if request.operation == "RunInstances":
            subnet = request.form["SubnetId"]
            there = sum(1 for item in world.instances() if item["SubnetId"] == subnet)
            if there + int(request.form["MaxCount"]) > room[subnet]:
                message = f"There are not enough free addresses in subnet '{subnet}' to satisfy the requested number"
                return refusal("InsufficientFreeAddressesInSubnet", message)
        return None

    return decide


def test_each_subnet_takes_as_many_as_it_has_addresses_for(world: Any, make: Any) -> None:
    a, b = world.subnets[:2]
    world.standin.fault = rooms(world, {a: 10, b: 25})
    wanted = make(*range(30))
    assert not world.run(wanted).message
    world.assert_exactly_one_each(wanted)
    found = Counter(item["SubnetId"] for item in world.instances())
    assert found[a] <= 10
    assert found[b] <= 25
    more = world.run(make(*range(40)))
    assert Counter(item["SubnetId"] for item in world.instances()) == {a: 10, b: 25}
    assert {entry["kind"] for entry in more.unplaced} == {"subnet_full"}
    assert len(more.unplaced) == 5
    assert f"no free addresses in {a}, {b}" in more.message
    assert "no capacity" not in more.message


def test_a_new_instance_profile_is_waited_for(world: Any, make: Any) -> None:
    message = "Value (p) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    world.standin.fault = refuse("RunInstances", "InvalidParameterValue", message, times=2)
    assert not world.run(make(0, 1), subnet_ids=world.subnets[:1]).message
    world.assert_exactly_one_each(make(0, 1))
    missing = refuse("RunInstances", "InvalidParameterValue", message)
    world.standin.fault = missing
    result = world.run(make(0, 1, 2))
    assert [entry["kind"] for entry in result.unplaced] == ["not_ready"]
    assert "instance_profile_name" in result.message


def test_a_listed_model_that_can_not_be_served_stops_no_other(world: Any, make: Any) -> None:
    stopped(world, make(*range(12)))
    long = {**make(12)[0], "name": "momentum/GOOG/" + "x" * 250 + "-outer_0_inner_1"}
    result = world.run([*make(*range(12)), long, {"name": "half"}])
    assert states(world) == {"running": 12}
    assert "2 listed models cannot be served" in result.message
    assert "must fit a tag" in result.message


def test_a_model_without_a_name_removes_no_server(world: Any, make: Any) -> None:
    world.run(make(0, 1))
    result = world.run([make(0)[0], {"type": "x"}], max_terminate_share=1)
    assert result.failed
    assert [line.held for line in result.plan.lines if line.held] == ["terminate"]
    assert states(world) == {"running": 2}


def test_a_listing_that_shrank_does_not_keep_the_rest_from_being_started(world: Any, make: Any) -> None:
    stopped(world, make(*range(10)))
    result = world.run(make(0, 1, 2, 3, 20))
    assert "6 of 10 servers would be terminated" in result.message
    assert states(world) == {"running": 4, "stopped": 6}
    assert not world.standin.calls["RunInstances"]
