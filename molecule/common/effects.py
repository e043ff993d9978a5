"""The journal arrives in CloudWatch, whatever happens to the program that ships it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from host import Host

GROUP = "/algo-trading/qa/common"
PATIENCE = 120


class Logging(Host):
    def shipped(self) -> list[dict[str, Any]]:
        logs = self.client("logs")
        streams = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
        assert [stream["logStreamName"] for stream in streams] in ([], [f"{self.id}/journal"])
        found: list[dict[str, Any]] = []
        if streams:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP)
            found = [json.loads(event["message"]) for page in pages for event in page["events"]]
        return found

    def arrives(self, *texts: str) -> list[dict[str, Any]]:
        """Wait for messages; returns them in the order in which they were written."""
        deadline = time.monotonic() + PATIENCE
        while True:
            there = [each for each in self.shipped() if each.get("message") in texts]
            if {each["message"] for each in there} == set(texts):
                return there
            assert time.monotonic() < deadline, self.run("journalctl --no-pager --unit algo-logs | tail -20")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def host() -> Logging:
    return Logging(Path(os.environ["SCENARIO_AWS_STATE"]), Path(os.environ["SCENARIO_FOLDER"]))


def test_our_units_and_the_warnings_of_all_others_arrive_with_their_fields(host: Logging) -> None:
    host.run('systemd-run --quiet --wait --unit=algo-told echo \'{"run": "r1", "message": "of ours"}\'')
    host.run("logger --priority user.info 'for nobody'; logger --priority user.warning --tag somebody 'a warning'")
    ours, warning = host.arrives("of ours", "a warning")
    assert ours == {"unit": "algo-told.service", "priority": 6, "run": "r1", "message": "of ours"}
    assert warning["priority"] == 4
    assert "for nobody" not in [each.get("message") for each in host.shipped()]


def test_what_was_written_while_it_was_dead_arrives_once(host: Logging) -> None:
    host.run("systemctl kill --signal=KILL algo-logs; logger --priority user.err 'killed'")
    host.arrives("killed")
    host.run("systemctl stop algo-logs; logger --priority user.err 'stopped'; systemctl start algo-logs")
    assert len(host.arrives("killed", "stopped")) == 2


def test_what_aws_does_not_take_arrives_when_it_does(host: Logging) -> None:
    iam = host.client("iam")
    ec2 = host.client("ec2").describe_instances(InstanceIds=[host.id])["Reservations"][0]["Instances"][0]
    role = ec2["IamInstanceProfile"]["Arn"].rpartition("/")[2]
    deny = {"Effect": "Deny", "Action": "logs:PutLogEvents", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_role_policy(RoleName=role, PolicyName="away", PolicyDocument=document)
    try:
        host.run("logger --priority user.err 'meanwhile'")
        deadline = time.monotonic() + PATIENCE
        while "CloudWatch does not take the log" not in host.run("journalctl --no-pager --unit algo-logs"):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="away")
    host.arrives("meanwhile", "CloudWatch takes the log again")


def test_it_may_do_nothing_but_that(host: Logging) -> None:
    pid = host.run("systemctl show --property=MainPID --value algo-logs").strip()
    assert 61184 <= int(host.run(f"stat --format=%u /proc/{pid}")) <= 65519  # a user that exists as long as the service
    status = host.run(f"cat /proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_accounts_have_exactly_their_keys(host: Logging) -> None:
    for name, keys in (
        ("somebody", ["ssh-ed25519 AAAAfirst somebody", "ssh-ed25519 AAAAsecond somebody"]),
        ("another", []),
    ):
        assert host.run(f"cat /home/{name}/.ssh/authorized_keys").splitlines() == keys
        shown = host.run(f"stat --format='%a %U' /home/{name}/.ssh /home/{name}/.ssh/authorized_keys").splitlines()
        assert shown == [f"700 {name}", f"600 {name}"]
    assert "sudo" in host.run("id somebody")
    assert host.run("id gone || true").strip() == ""
