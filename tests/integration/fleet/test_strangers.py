# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags edited by hand, servers of somebody else, servers that were drained: found, named, and never a second one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils.fleet.claims import drain_note
from ec2_standin import Shown, refusal

ROOT = Path(__file__).parents[3]
GONE = object()


def retag(world: Any, item: dict[str, Any], **tags: Any) -> None:
    ec2, id_ = world.direct, item["InstanceId"]
    for key, value in tags.items():
        if value is GONE:
            ec2.delete_tags(Resources=[id_], Tags=[{"Key": key}])
        else:
            ec2.create_tags(Resources=[id_], Tags=[{"Key": key, "Value": value}])


def tags_of(world: Any, id_: str) -> dict[str, str]:
    [item] = world.direct.describe_instances(InstanceIds=[id_])["Reservations"][0]["Instances"]
    return {tag["Key"]: tag["Value"] for tag in item["Tags"]}


def session(world: Any) -> dict[str, str]:
    now = world.clock.now()
    return {
        "open": (now - timedelta(hours=1)).isoformat(timespec="seconds"),
        "close": (now + timedelta(hours=1)).isoformat(timespec="seconds"),
    }


def test_one_model_tag_set_by_hand_on_most_servers_ends_none_of_them(world: Any, make: Any) -> None:
    wanted = make(*range(20))
    assert not world.run(wanted).message
    before = {item["InstanceId"] for item in world.instances()}
    for item in world.instances()[:15]:
        retag(world, item, Model=wanted[0]["name"])
    result = world.run(wanted, session=session(world), max_terminate_share=0.2)
    assert not result.message
    assert {item["InstanceId"] for item in world.instances()} == before
    assert not world.standin.calls["TerminateInstances"]
    assert not world.standin.calls["RebootInstances"]
    # And what was edited is put right.
    world.assert_exactly_one_each(wanted)
    assert not world.run(wanted).changed


def test_true_duplicates_wait_for_the_session_and_count_against_the_share(world: Any, make: Any) -> None:
    wanted = make(*range(6))
    assert not world.run(wanted).message
    world.clock.sleep(3600)
    [first, *others] = world.instances()
    whole = tags_of(world, first["InstanceId"])
    for item in others[:3]:
        retag(world, item, **whole)
    held = world.run(wanted[:3], session=session(world), max_terminate_share=1)
    assert "has two servers" in held.message
    assert not world.standin.calls["TerminateInstances"]
    refused = world.run(wanted, max_terminate_share=0.2)
    assert "3 are second servers of their model" in refused.message
    assert not world.standin.calls["TerminateInstances"]


def test_a_server_that_all_its_tags_reassign_does_not_change_its_model_without_a_restart(world: Any, make: Any) -> None:
    wanted = make(0, 1)
    assert not world.run(wanted[:1]).message
    [item] = world.instances()
    other = wanted[1]
    parts = {"ModelType": other["type"], "Symbol": other["symbol"], "ModelName": other["model"]}
    retag(world, item, Model=other["name"], **parts, ModelVersion=other["version"])
    held = world.run(wanted, session=session(world))
    # It still works for the first model: that one gets no second server while it does.
    assert len(world.instances()) == 1
    assert {entry["model"] for entry in held.held} == {model["name"] for model in wanted}
    assert not world.standin.calls["RebootInstances"]
    world.run(wanted)
    assert world.standin.calls["RebootInstances"] == 1
    assert not world.run(wanted).message
    world.assert_exactly_one_each(wanted)


@pytest.mark.parametrize(
    "edit",
    [
        {"Environment": "prod"},
        {"Environment": "prod", "Name": "my server"},
        {"Project": GONE},
        {"Component": "mlflow_server"},
        {"ManagedBy": GONE},
    ],
    ids=lambda edit: "+".join(edit),
)
def test_a_server_that_lost_a_tag_is_named_and_its_model_gets_no_second_one(
    world: Any, make: Any, edit: dict[str, Any]
) -> None:
    wanted = make(0, 1, 2)
    assert not world.run(wanted).message
    item = world.instances()[0]
    model = tags_of(world, item["InstanceId"])["Model"]
    retag(world, item, **edit)
    world.standin.revive()
    result = world.run(wanted)
    assert result.failed
    assert item["InstanceId"] in result.message
    assert f"serves {model}" in result.message
    assert "create-tags" in result.message
    assert not world.standin.calls["RunInstances"]
    assert result.api_calls == {"DescribeInstances": 1}
    # With its tags back, all is as before.
    retag(world, item, Environment="test", Project="algo-trading", Component="trading_server", ManagedBy="algo.trading")
    assert not world.run(wanted).message
    world.assert_exactly_one_each(wanted)


def test_a_server_with_borrowed_tags_is_not_touched(world: Any, make: Any) -> None:
    world.environment = "qa"
    assert not world.run(make(0)).message
    [item] = world.instances()
    retag(world, item, Environment="test")
    world.environment = "test"
    result = world.run([], max_terminate_share=1)
    assert "its client token belongs to another fleet" in result.message
    assert not world.standin.calls["TerminateInstances"]


def by_terraform(world: Any, model: dict[str, Any], **tags: str) -> str:
    told = {"Project": "algo-trading", "Environment": "test", "Component": "trading_server", "Model": model["name"]}
    pairs = [{"Key": key, "Value": value} for key, value in {**told, "ManagedBy": "terraform", **tags}.items()]
    specification = [{"ResourceType": "instance", "Tags": pairs}]
    made = world.direct.run_instances(ImageId=world.images[0], MinCount=1, MaxCount=1, TagSpecifications=specification)
    id_: str = made["Instances"][0]["InstanceId"]
    return id_


@pytest.mark.parametrize(
    "tags",
    [
        {"Environment": "Test"},
        {"Environment": GONE, "Project": GONE, "Component": GONE},
        {"Model": GONE, "model": "the model's", "Environment": GONE},
    ],
    ids=lambda tags: "+".join(tags),
)
def test_a_server_with_other_spellings_of_the_tags_is_named_and_gets_no_rival(
    world: Any, make: Any, tags: dict[str, Any]
) -> None:
    wanted = make(0, 1)
    theirs = by_terraform(world, wanted[0])
    edit = {key: wanted[0]["name"] if value == "the model's" else value for key, value in tags.items()}
    retag(world, {"InstanceId": theirs}, **edit)
    for selection in ({}, {"models": [wanted[0]["model"]]}):
        result = world.run(wanted, selection=selection)
        assert theirs in result.message
        assert f"serves {wanted[0]['name']} and is not touched" in result.message
    # Only the other model got a server.
    assert [
        tags_of(world, item["InstanceId"])["Model"] for item in world.instances() if item["InstanceId"] != theirs
    ] == [wanted[1]["name"]]
    # Another environment's, as its own tag says from now on.
    retag(world, {"InstanceId": theirs}, Environment="prod", Project="algo-trading")
    assert not world.run(wanted).message
    world.assert_exactly_one_each(wanted)


def test_another_environments_server_without_a_token_is_not_touched_whatever_its_tags_say(
    world: Any, make: Any
) -> None:
    wanted = make(0)
    name = "algo-trading-trading-server-qa-momentum-GOOG-sma0000-outer_0_inner_1"
    theirs = by_terraform(world, wanted[0], ManagedBy="algo.trading", Name=name)
    result = world.run(wanted)
    assert "its name belongs to another fleet" in result.message
    assert theirs in result.message
    assert [line.instance_id for line in result.plan.lines if line.action != "create"] == [theirs]
    assert tags_of(world, theirs)["Name"] == name
    assert not world.standin.calls["TerminateInstances"]


def test_servers_that_terraform_made_are_named_and_get_no_rivals(world: Any, make: Any) -> None:
    wanted = make(*range(5))
    theirs = [by_terraform(world, model) for model in wanted[:3]]
    result = world.run(wanted)
    assert result.failed
    assert all(id_ in result.message for id_ in theirs)
    for words in ("ManagedBy=terraform", "terraform state rm", "Stop or terminate it"):
        assert words in result.message
    # The other models are served, and a check says the same as the run.
    made = [item for item in world.instances() if item["InstanceId"] not in theirs]
    assert sorted(tags_of(world, item["InstanceId"])["Model"] for item in made) == [
        model["name"] for model in sorted(wanted[3:], key=lambda model: model["name"])
    ]
    assert world.run(wanted, check=True).message == world.run(wanted).message
    # Adopted as the message says, each is replaced by a server of the fleet's own.
    for id_ in theirs:
        retag(world, {"InstanceId": id_}, ManagedBy="algo.trading")
    assert not world.run(wanted).message
    world.assert_exactly_one_each(wanted)


def test_what_was_drained_and_not_stopped_is_restarted_in_the_morning(world: Any, make: Any) -> None:
    wanted = make(0, 1, 2)
    assert not world.run(wanted).message
    drained, stopped, _other = world.instances()
    asked = "2026-01-02T21:15:00+00:00"
    for item in (drained, stopped):
        retag(world, item, DrainAsked=asked)
    world.direct.stop_instances(InstanceIds=[stopped["InstanceId"]])
    night = world.run(wanted, power="keep", check=True)
    assert not night.changed
    assert any(f"drain requested at {asked}, not stopped since" in line.reason for line in night.plan.lines)
    world.standin.revive()
    assert not world.run(wanted).message
    assert Counter(world.standin.history)["RebootInstances"] == 1
    assert Counter(world.standin.history)["StartInstances"] == 1
    assert all(tags_of(world, item["InstanceId"])["DrainAsked"] == "" for item in (drained, stopped))
    assert not world.run(wanted).changed


def test_a_server_that_confirmed_its_drain_is_restarted_in_the_session_before_the_others(world: Any, make: Any) -> None:
    wanted = make(0, 1, version="v2")
    assert not world.run(make(0, 1)).message
    idle, trading = world.instances()
    confirmed = drain_note(world.clock.now() + timedelta(minutes=1), confirmed=True)
    retag(world, idle, DrainAsked=confirmed)
    result = world.run(wanted, session=session(world))
    assert not result.message
    assert [line.instance_id for line in result.plan.of("restart")] == [idle["InstanceId"]]
    assert world.standin.calls["RebootInstances"] == 1
    assert tags_of(world, idle["InstanceId"])["DrainAsked"] == ""
    assert tags_of(world, idle["InstanceId"])["ModelVersion"] == "v2"
    assert tags_of(world, trading["InstanceId"])["ModelVersion"] == "v1"


def test_no_two_servers_share_a_name_in_the_inventory(fresh_aws: Any, world: Any, tmp_path: Path) -> None:
    names = ("mean-rev/AAPL/x-outer_0_inner_0", "mean/rev-AAPL/x-outer_0_inner_0", "mean_rev/AAPL/x-outer_0_inner_0")
    wanted = [
        dict(zip(("type", "symbol", "model"), [*name.split("/")[:2], "x"], strict=True), name=name, version="v1")
        for name in names
    ]
    assert not world.run(wanted).message
    # As the environments have it, but for the place.
    inventory = yaml.safe_load((ROOT / "inventories" / "qa" / "aws_ec2.yml").read_text())
    inventory["filters"]["tag:Environment"] = "test"
    place = {"endpoint_url": fresh_aws.endpoint, "access_key": "testing", "secret_key": "testing"}
    source = tmp_path / "aws_ec2.yml"
    source.write_text(json.dumps(inventory | place))
    done = subprocess.run(
        [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(source), "--list"],
        env=fresh_aws.env,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    hosts = json.loads(done.stdout)["_meta"]["hostvars"]
    assert len(hosts) == len(names)
    assert set(hosts) == {tags_of(world, item["InstanceId"])["Name"] for item in world.instances()}


@pytest.mark.parametrize(
    ("edited", "selection"),
    [
        ({"ModelType": "mean_rev"}, {"types": ["momentum"]}),
        ({"Symbol": "goog"}, {"symbols": ["GOOG"]}),
        ({"ModelName": GONE}, {"models": ["sma0000"]}),
        ({"ManagedBy": "terraform", "ModelType": GONE, "Symbol": GONE, "ClaimDigest": GONE}, {"symbols": ["GOOG"]}),
    ],
)
def test_an_edited_tag_does_not_hide_a_server_from_a_selection(
    world: Any, make: Any, edited: dict[str, Any], selection: dict[str, list[str]]
) -> None:
    wanted = make(0)
    assert not world.run(wanted).message
    [item] = world.instances()
    retag(world, item, **edited)
    world.run(wanted, selection=selection)
    assert [found["InstanceId"] for found in world.instances()] == [item["InstanceId"]]


def refusing(operation: str) -> Any:
    return lambda request: refusal("InternalError") if request.operation == operation else None


def test_a_restart_that_failed_is_done_by_the_next_run(world: Any, make: Any) -> None:
    wanted = make(0, version="v2")
    assert not world.run(make(0)).message
    world.standin.fault = refusing("RebootInstances")
    assert world.run(wanted).failed
    world.standin.revive()
    assert [line.action for line in world.run(wanted, power="keep").plan.lines] == ["restart"]
    assert world.standin.calls["RebootInstances"] == 1
    assert not world.run(wanted).changed


def test_a_reassigned_server_whose_restart_failed_still_serves_its_first_model(world: Any, make: Any) -> None:
    wanted = make(0, 1, 2)
    assert not world.run(wanted[:1]).message
    [item] = world.instances()
    other = wanted[1]
    retag(world, item, Model=other["name"], ModelType=other["type"], Symbol=other["symbol"], ModelName=other["model"])
    world.standin.fault = refusing("RebootInstances")
    world.run(wanted)
    assert world.run(wanted).failed
    models = {tags_of(world, found["InstanceId"])["Model"] for found in world.instances()}
    assert models == {other["name"], wanted[2]["name"]}


@pytest.mark.parametrize("power", ["running", "keep"])
def test_a_configuration_that_was_not_injected_is_injected_by_the_next_run(world: Any, make: Any, power: str) -> None:
    change = {"configuration": {"a": 1}, "on_change": {"configuration": "restart"}}
    assert not world.run(make(0)).message
    assert not world.run(make(0), power="stopped").message
    [item] = world.instances()
    if power == "running":
        world.standin.fault = refusing("ModifyInstanceAttribute")
        assert world.run(make(0), **change).failed
    else:
        world.standin.shown[item["InstanceId"]] = Shown("stopping")
        world.run(make(0), power=power, **change)
        world.standin.shown.clear()
    world.standin.revive()
    assert not world.run(make(0), power=power, **change).message
    assert world.standin.calls["ModifyInstanceAttribute"] == 1
    assert not world.run(make(0), power=power, **change).changed
