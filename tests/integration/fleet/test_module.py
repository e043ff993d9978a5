# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module in real plays: plan, apply, repeat, change, kill, remove."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.tests.integration.environments import family_of, kill_tree, lives

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


def write_play(path: Path, fleet: dict[str, Any], **variables: Any) -> Path:
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": [{"name": "Fleet", NAME: fleet}]}
    path.write_text(json.dumps([play]))
    return path


def test_it_shows_its_progress_and_then_a_table_and_needs_no_interpreter_of_its_own(
    fresh_aws: Any, network: Any, make: Any, playbook: Any, tmp_path: Path
) -> None:
    whole = {**network, "models": make(0, 1, 2), "endpoint_url": fresh_aws.endpoint, "region": fresh_aws.region}
    path = write_play(tmp_path / "play.json", whole, ansible_python_interpreter="/nowhere/python")
    run = playbook("-i", "localhost,", "-c", "local", path, check=True, env={"ANSIBLE_STDOUT_CALLBACK": "default"})
    lines = run.stdout.splitlines()
    (last,) = (number for number, line in enumerate(lines) if line.startswith("  fleet: ") and "3 of 3 running" in line)
    (table,) = (number for number, line in enumerate(lines) if line.startswith("MODEL "))
    assert last < table
    assert [line.split()[:2] for line in lines[table + 1 : table + 4]] == [
        [m["name"], "create"] for m in sorted(make(0, 1, 2), key=lambda model: str(model["name"]))
    ]


def test_it_ends_with_the_run_that_started_it(fresh_aws: Any, network: Any, make: Any, tmp_path: Path) -> None:
    """A call that is never answered would keep the module for longer than this test waits."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        whole = {**network, "models": make(0), "endpoint_url": endpoint, "region": fresh_aws.region}
        path = write_play(tmp_path / "play.json", whole)
        program = Path(sys.executable).parent / "ansible-playbook"
        run = subprocess.Popen(
            [program, "-i", "localhost,", "-c", "local", path],
            env=fresh_aws.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        asked, _address = silent.accept()
        family = family_of(run.pid)
        assert len(family) > 2
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        until = time.monotonic() + 30
        while left := [pid for pid in family if lives(pid)]:
            assert time.monotonic() < until, f"still running after the kill: {left}"
            time.sleep(0.05)
        asked.close()
