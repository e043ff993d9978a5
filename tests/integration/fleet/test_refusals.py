# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWS may answer instead of an instance, and what the fleet makes of it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ec2_standin import Request, refusal


def no_capacity(*places: tuple[str, str]) -> Any:
    def decide(request: Request) -> Any:
        place = (request.form.get("InstanceType", ""), request.form.get("SubnetId", ""))
        if request.operation == "RunInstances" and place in places:
            return refusal("InsufficientInstanceCapacity", f"no {place[0]} there now", 500)
        return None

    return decide


def test_missing_capacity_falls_through_subnets_then_types(world: Any, make: Any) -> None:
    a, b = world.subnets[:2]
    world.standin.fault = no_capacity(("t3.nano", a), ("t3.nano", b))
    result = world.run(make(0, 1, 2, 3))
    assert not result.message
    world.assert_exactly_one_each(make(0, 1, 2, 3))
    assert Counter((item["InstanceType"], item["SubnetId"]) for item in world.instances()) == {
        ("t3.micro", a): 2,
        ("t3.micro", b): 2,
    }
    # The memory: a place without room is asked once for all and once for any, not by every batch.
    assert world.standin.refused["InsufficientInstanceCapacity"] <= 8


def test_what_could_not_be_placed_is_reported_and_the_next_run_continues(world: Any, make: Any) -> None:
    a, b = world.subnets[:2]
    places = [(kind, subnet) for kind in ("t3.nano", "t3.micro") for subnet in (a, b)]
    world.standin.fault = no_capacity(*places)
    big = {"symbol": ["EURUSD"], "instance_types": ["m5.large"]}
    result = world.run(make(0, 1, 2), overrides=[big])
    # Those of another launch group go on.
    assert [item["InstanceType"] for item in world.instances()] == ["m5.large"]
    assert {entry["kind"] for entry in result.unplaced} == {"capacity"}
    assert {entry["model"] for entry in result.unplaced} == {make(0)[0]["name"], make(2)[0]["name"]}
    assert "2 servers are not up to date" in result.message
    assert "Add instance types or subnets" in result.unplaced[0]["reason"]
    world.standin.revive()
    assert not world.run(make(0, 1, 2), overrides=[big]).message
    world.assert_exactly_one_each(make(0, 1, 2))


def test_spot_is_a_setting_also_of_some_models_only(world: Any, make: Any) -> None:
    wanted = make(0, 1, 2)
    spot = {"symbol": ["EURUSD"], "market": "spot"}
    launched: list[bool] = []

    def notice(request: Request) -> Any:
        if request.operation == "RunInstances":
            launched.append(request.form.get("InstanceMarketOptions.SpotOptions.SpotInstanceType") == "one-time")
        return None

    world.standin.fault = notice
    assert not world.run(wanted, overrides=[spot]).message
    assert sorted(launched) == [False, True]
    lifecycles = {tags["Symbol"]: life for tags, life in lives(world)}
    assert [symbol for symbol, life in lifecycles.items() if life == "spot"] == ["EURUSD"]
    # The evening: a one-time instance cannot be stopped, and the plan says so instead of trying.
    evening = world.run(wanted, overrides=[spot], power="stopped")
    assert not evening.message
    left = [line for line in evening.plan.lines if line.action == "no-op"]
    assert [line.reason for line in left] == ["a one-time spot instance cannot be stopped"]


def test_a_spot_server_that_would_have_to_stop_for_its_change_is_replaced(world: Any, make: Any) -> None:
    wanted = make(0, 1)
    spot = {"market": "spot", "on_change": {"configuration": "restart", "instance_type": "restart"}}

    def unstoppable(request: Request) -> Any:
        if request.operation == "StopInstances":
            return refusal("UnsupportedOperation", "You can't stop a one-time Spot Instance", 400)
        return None

    world.standin.fault = unstoppable
    assert not world.run(wanted, **spot).message
    before = {item["InstanceId"] for item in world.instances()}
    for change in ({"configuration": {"a": 1}}, {"configuration": {"a": 1}, "instance_types": ["t3.small"]}):
        planned = world.run(wanted, check=True, **spot, **change)
        assert planned.plan.counts["replace"] == 2
        done = world.run(wanted, **spot, **change)
        assert not done.message
        assert done.plan.lines == planned.plan.lines
        world.assert_exactly_one_each(wanted)
        assert not before & {item["InstanceId"] for item in world.instances()}
        assert not world.run(wanted, **spot, **change).plan.changed
        before = {item["InstanceId"] for item in world.instances()}


def lives(world: Any) -> list[tuple[dict[str, str], str]]:
    return [
        ({tag["Key"]: tag["Value"] for tag in item["Tags"]}, item.get("InstanceLifecycle", ""))
        for item in world.instances()
    ]


def test_throttling_is_not_taken_for_missing_capacity(world: Any, make: Any) -> None:
    def decide(request: Request) -> Any:
        if request.operation == "RunInstances" and request.number_of_operation <= 3:
            return refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        return None

    world.standin.fault = decide
    result = world.run(make(0, 1), subnet_ids=world.subnets[:1])
    assert not result.message
    assert {item["InstanceType"] for item in world.instances()} == {"t3.nano"}
    assert result.refusals == {"throttled": 3}


def test_a_quota_is_filled_as_far_as_it_goes_and_named(world: Any, make: Any) -> None:
    room = 3

    def decide(request: Request) -> Any:
        if request.operation == "RunInstances":
            there = len(world.instances())
            if there + int(request.form["MinCount"]) > room:
                return refusal("VcpuLimitExceeded", "You have requested more vCPU capacity than your current limit")
        return None

    world.standin.fault = decide
    result = world.run(make(*range(8)), subnet_ids=world.subnets[:1])
    assert len(world.instances()) == room
    assert len(result.unplaced) == 8 - room
    assert {entry["kind"] for entry in result.unplaced} == {"quota"}
    assert "Service Quotas" in result.message
    # No other type of the same quota is tried for every model.
    assert world.standin.calls["RunInstances"] <= 8


def test_denied_access_ends_the_run_at_once(world: Any, make: Any) -> None:
    world.standin.fault = lambda request: (
        refusal("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
        if request.operation == "RunInstances"
        else None
    )
    result = world.run(make(*range(6)), launch_batch=1)
    assert "UnauthorizedOperation" in result.message
    assert "Compare its policy" in result.message
    assert world.standin.calls["RunInstances"] <= 4  # as many as were under way
    assert not world.instances()


def test_denied_claims_leave_instances_that_the_next_run_adopts(world: Any, make: Any) -> None:
    world.standin.fault = lambda request: (
        refusal("UnauthorizedOperation", "not authorized", 403) if request.operation == "CreateTags" else None
    )
    result = world.run(make(*range(4)))
    assert "UnauthorizedOperation" in result.message
    world.standin.revive()
    second = world.run(make(*range(4)))
    assert second.plan.counts["adopt"] == 4
    assert world.standin.calls["RunInstances"] == 0
    world.assert_exactly_one_each(make(*range(4)))


def test_a_bad_parameter_fails_its_own_launch_group_only(world: Any, make: Any) -> None:
    bad = {"symbol": ["EURUSD"], "security_group_ids": ["sg-00000000"]}
    result = world.run(make(0, 1, 2), overrides=[bad])
    assert [entry["kind"] for entry in result.unplaced] == ["parameter"]
    assert "InvalidGroup.NotFound" in result.unplaced[0]["reason"]
    assert len(world.instances()) == 2


def test_fewer_instances_than_asked_for_are_taken_and_the_rest_goes_elsewhere(world: Any, make: Any) -> None:
    a = world.subnets[0]
    left = 2

    def decide(request: Request) -> Any:
        if request.operation == "RunInstances" and request.form["SubnetId"] == a:
            there = sum(1 for item in world.instances() if item["SubnetId"] == a)
            # As EC2 does: nothing below MinCount, else as many as there are. moto launches MinCount.
            if there + int(request.form["MinCount"]) > left:
                return refusal("InsufficientInstanceCapacity", "not so many", 500)
        return None

    world.standin.fault = decide
    wanted = make(*range(12))
    assert not world.run(wanted, instance_types=["t3.nano"]).message
    world.assert_exactly_one_each(wanted)
    assert sum(1 for item in world.instances() if item["SubnetId"] == a) == left


def test_an_instance_that_dies_at_birth_for_want_of_capacity_is_placed_elsewhere(world: Any, make: Any) -> None:
    """EC2 accepts the launch; the true answer stands in the reason of the state."""
    killed: list[str] = []
    a = world.subnets[0]
    forward = world.standin._forward

    def dying(path: str, headers: Any, body: bytes) -> Any:
        answer = forward(path, headers, body)
        if b"Action=CreateTags" in body and not killed:
            killed.append(next(item["InstanceId"] for item in world.instances() if item["SubnetId"] == a))
            world.direct.terminate_instances(InstanceIds=killed)
        if b"Action=DescribeInstances" in body and killed:
            text = answer.body.decode()
            reason = (
                "<stateReason><code>Server.InsufficientInstanceCapacity</code><message>no room</message></stateReason>"
            )
            text = re.sub(r"<stateReason>.*?</stateReason>|<stateReason ?/>", "", text, flags=re.DOTALL)
            text = text.replace(
                f"<instanceId>{killed[0]}</instanceId>", f"<instanceId>{killed[0]}</instanceId>{reason}"
            )
            return type(answer)(answer.status, text.encode())
        return answer

    world.standin._forward = dying
    result = world.run(make(0), instance_types=["t3.nano"])
    assert not result.message
    world.assert_exactly_one_each(make(0))
    assert [item["SubnetId"] for item in world.instances()] == [world.subnets[1]]


def test_what_a_deadline_cuts_off_is_not_called_done(world: Any, make: Any) -> None:
    assert not world.run(make(0, 1)).message
    world.direct.stop_instances(InstanceIds=[world.instances()[0]["InstanceId"]])
    calls = Counter[str]()

    def slow(request: Request) -> Any:
        calls[request.operation] += 1
        if request.operation == "StartInstances":
            with world.clock.idle():
                world.clock.sleep(1000)
        return None

    world.standin.fault = slow
    deadline = world.clock.monotonic() + 500
    result = reconcile(world.settings(), make(0, 1, 2), world.client, clock=world.clock, deadline=deadline)
    assert result.failed
    status = {line.action: result.status(line, check=False) for line in result.plan.lines}
    assert status == {"start": "done", "create": "not started", "no-op": "done"}
    [line] = result.plan.of("create")
    assert result.reason(line).startswith("not started: ")
    assert calls["RunInstances"] == 0


def test_termination_protection_spares_one_and_does_not_stop_the_others(world: Any, make: Any) -> None:
    world.run(make(0, 1, 2))
    protected = world.instances()[0]["InstanceId"]
    world.direct.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": True})
    result = world.run([], state="absent")
    assert [item["InstanceId"] for item in world.instances()] == [protected]
    assert [entry["kind"] for entry in result.unplaced] == ["protected"]
    assert protected in result.message
    world.direct.modify_instance_attribute(InstanceId=protected, DisableApiTermination={"Value": False})
    assert not world.run([], state="absent").message
    assert not world.instances()


def test_a_batch_that_does_not_become_healthy_stops_the_replacement(world: Any, make: Any) -> None:
    world.run(make(0, 1, 2, 3))
    old, new = world.images[:2]
    settings = {
        "image_id": new,
        "replace": {"batch_size": 2},
        "health": {"check": "tag", "timeout": 60},
    }
    # The ones that are there are healthy; nobody will mark the new ones.
    ids = [item["InstanceId"] for item in world.instances()]
    world.direct.create_tags(Resources=ids, Tags=[{"Key": "Health", "Value": "ok"}])
    result = world.run(make(0, 1, 2, 3), **settings)
    assert "Stopped after a failed batch; 2 servers were not started on" in result.message
    assert "To go back" in result.message
    assert f"image {old} -> {new}" in result.message
    # Two failed, two were not begun: no line says that it was done.
    rolled = result.plan.of("replace")
    assert Counter(result.status(line, check=False) for line in rolled) == {"failed": 2, "not started": 2}
    waiting = [line for line in rolled if result.status(line, check=False) == "not started"]
    said = "not started: Stopped after a failed batch; 2 servers were not started on"
    assert all(result.reason(line).startswith(said) for line in waiting)
    assert {row["problem"].startswith(said) for row in result.servers if row["name"] in {w.model for w in waiting}} == {
        True
    }
    assert Counter(item["ImageId"] for item in world.instances()) == {old: 2, new: 2}
    # Going on without healing anything does not lose two more.
    again = world.run(make(0, 1, 2, 3), **settings)
    assert "Nothing was restarted or replaced: 2 servers are already unhealthy" in again.message
    assert Counter(item["ImageId"] for item in world.instances()) == {old: 2, new: 2}
    # Going back touches only what was changed.
    back = world.run(make(0, 1, 2, 3), image_id=old)
    assert not back.message
    assert back.plan.counts["replace"] == 2
    assert {item["ImageId"] for item in world.instances()} == {old}
    world.assert_exactly_one_each(make(0, 1, 2, 3))
