# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module in real plays: plan, apply, repeat, change, kill, remove."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.tests.integration.environments import kill_tree

NAME = "algo.trading.model_fleet"


@pytest.fixture
def network(fresh_aws: Any) -> dict[str, Any]:
    client = fresh_aws.client("ec2")
    return {
        "project": "algo-trading",
        "environment": "local",
        "image_id": client.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
        "instance_types": ["t3.nano"],
        "subnet_ids": sorted(subnet["SubnetId"] for subnet in client.describe_subnets()["Subnets"])[:2],
        "rate_limits": {"factor": 0},
        "show_table": "all",
    }


def test_the_plan_of_check_mode_is_what_a_real_run_does(
    fresh_aws: Any, network: Any, make: Any, tasks: Any, tmp_path: Path
) -> None:
    plan = str(tmp_path / "plan.json")
    on_nothing = {
        **network,
        "models": make(0, 1, 2),
        "subnet_ids": ["subnet-planned"],
        "security_group_ids": ["sg-planned"],
    }
    whole = {**network, "models": make(0, 1, 2)}
    fresh_aws.forget_calls()
    planned, saved = tasks({NAME: on_nothing}, {NAME: {**whole, "save_plan": plan}}, check=True, diff=True)
    assert not fresh_aws.calls(write=True)
    assert planned["changed"]
    assert [line["action"] for line in planned["plan"]] == ["create"] * 3
    assert planned["diff"]["prepared"].count("has no server") == 3
    assert planned["plan"][0]["status"] == "planned"

    moved = {**whole, "models": make(0, 1)}
    refused, done, again, stale = tasks(
        {NAME: {**moved, "apply_plan": plan}},
        {NAME: {**whole, "apply_plan": plan}},
        {NAME: whole},
        {NAME: {**whole, "apply_plan": plan}},
    )
    assert refused["failed"]
    assert f"- create {make(2)[0]['name']}: has no server" in refused["msg"]
    assert [(line["action"], line["model"]) for line in done["plan"]] == [
        (line["action"], line["model"]) for line in saved["plan"]
    ]
    assert done["changed"]
    for server in done["servers"]:
        assert server["state"] == "running"
        assert server["instance_id"].startswith("i-")
        assert server["private_ip_address"]
        assert server["tags"]["Model"] == server["name"]
    assert done["api_calls"] == {"DescribeInstances": 2, "RunInstances": 2, "CreateTags": 3}
    assert not again["changed"]
    assert again["api_calls"] == {"DescribeInstances": 1}
    assert stale["failed"]

    emptied, gone = tasks({NAME: {**whole, "models": []}}, {NAME: {**network, "state": "absent"}})
    assert emptied["failed"]
    assert {line["status"] for line in emptied["plan"]} == {"failed"}
    assert "3 of 3 servers would be terminated" in emptied["msg"]
    assert gone["changed"]
    assert gone["counts"]["terminate"] == 3


def test_a_killed_play_is_finished_by_the_next_one(
    fresh_aws: Any, network: Any, make: Any, tasks: Any, tmp_path: Path
) -> None:
    wanted = make(*range(40))
    whole = {**network, "models": wanted, "show_table": "none"}
    connection = {"endpoint_url": fresh_aws.endpoint, "region": fresh_aws.region}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [{"name": "Fleet", NAME: {**whole, **connection}}]}]
    path = tmp_path / "killed.json"
    path.write_text(json.dumps(play))
    fresh_aws.forget_calls()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(path)],
        env=fresh_aws.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # In the middle of the claims, all of it goes.
    while process.poll() is None and fresh_aws.count()["ec2:CreateTags"] < 5:
        time.sleep(0.02)
    if process.poll() is None:
        kill_tree(process.pid)
    process.wait()
    [result] = tasks({NAME: whole})
    assert not result.get("failed"), result.get("msg")
    found = fresh_aws.client("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
    )
    claims = [
        next((tag["Value"] for tag in item["Tags"] if tag["Key"] == "Model"), "")
        for reservation in found["Reservations"]
        for item in reservation["Instances"]
    ]
    assert sorted(claims) == sorted(model["name"] for model in wanted)
