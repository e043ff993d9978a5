"""SSM commands run on hosts: what is reported is what happened there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.hosts.conftest import until

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host, Yard

pytestmark = pytest.mark.hosts

_UNDER_WAY = ("Pending", "InProgress", "Cancelling")


class Ssm:
    """SSM as an operator uses it."""

    def __init__(self, yard: Yard, hosts: list[Host]) -> None:
        self.yard, self.client, self.ids = yard, yard.aws.client("ssm"), [host.id for host in hosts]
        until(lambda: set(self.ids) <= set(self.online()), yard.log)

    def online(self) -> list[str]:
        pages = self.client.get_paginator("describe_instance_information").paginate()
        return [
            each["InstanceId"]
            for page in pages
            for each in page["InstanceInformationList"]
            if each["PingStatus"] == "Online"
        ]

    def send(self, script: str, **given: Any) -> str:
        options = {"InstanceIds": self.ids, "DocumentName": "AWS-RunShellScript", "TimeoutSeconds": 600, **given}
        if options["DocumentName"] == "AWS-RunShellScript":
            options["Parameters"] = {"commands": [script], **options.get("Parameters", {})}
        options = {name: value for name, value in options.items() if value is not None}
        return str(self.client.send_command(**options)["Command"]["CommandId"])

    def results(self, command: str) -> dict[str, dict[str, Any]]:
        """What became of a command on each host, once it has ended everywhere."""

        def ended() -> Any:
            listed = self.client.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
            return listed if not any(each["Status"] in _UNDER_WAY for each in listed) else None

        return {each["InstanceId"]: each for each in until(ended, self.yard.log)}

    def command(self, command: str) -> dict[str, Any]:
        return dict(self.client.list_commands(CommandId=command)["Commands"][0])


@pytest.fixture(scope="module")
def ssm(yard: Yard, pair: list[Host]) -> Ssm:
    return Ssm(yard, pair)


def test_a_command_runs_as_root_on_each_host_and_reports_its_own_output(ssm: Ssm) -> None:
    command = ssm.send("id -u; hostname; echo oops >&2")
    results = ssm.results(command)
    assert {each["Status"] for each in results.values()} == {"Success"}
    names = {each["CommandPlugins"][0]["Output"].split()[1] for each in results.values()}
    assert len(names) == 2
    one = ssm.client.get_command_invocation(CommandId=command, InstanceId=ssm.ids[0])
    assert one["StandardOutputContent"].startswith("0\nip-10-10-0-")
    assert one["StandardErrorContent"] == "oops\n"
    assert one["ResponseCode"] == 0
    assert ssm.command(command)["Status"] == "Success"


def test_the_agent_is_a_unit_of_the_host_and_comes_back(ssm: Ssm, pair: list[Host]) -> None:
    assert pair[0].run("systemctl is-active amazon-ssm-agent").strip() == "active"
    pair[0].run("systemctl kill --signal=KILL amazon-ssm-agent")
    assert ssm.results(ssm.send("true"))[pair[0].id]["Status"] == "Success"


def test_a_failure_and_a_time_limit_are_told_apart(ssm: Ssm) -> None:
    failed = ssm.results(ssm.send("echo position not flat; exit 3", MaxErrors="100%"))
    for each in failed.values():
        assert (each["Status"], each["CommandPlugins"][0]["ResponseCode"]) == ("Failed", 3)
        assert "position not flat" in each["CommandPlugins"][0]["Output"]
    late = ssm.results(ssm.send("sleep 600", Parameters={"executionTimeout": ["1"]}, MaxErrors="100%"))
    assert {each["StatusDetails"] for each in late.values()} == {"ExecutionTimedOut"}


def test_a_document_has_steps_parameters_and_targets(ssm: Ssm) -> None:
    script = {"action": "aws:runShellScript"}
    content = {
        "schemaVersion": "2.2",
        "parameters": {"who": {"type": "String", "allowedPattern": "^[a-z]+$"}},
        "mainSteps": [
            {"name": "first", **script, "inputs": {"runCommand": ["echo hello {{ who }}"]}},
            {"name": "second", **script, "onFailure": "exit", "inputs": {"runCommand": ["exit 1"]}},
            {"name": "third", **script, "inputs": {"runCommand": ["echo never"]}},
        ],
    }
    ssm.client.create_document(Name="greeting", DocumentType="Command", Content=json.dumps(content))
    targets = [{"Key": "tag:Fleet", "Values": ["pair"]}]
    given: dict[str, Any] = {"DocumentName": "greeting", "InstanceIds": None, "Targets": targets, "MaxErrors": "100%"}
    command = ssm.send("", **given, Parameters={"who": ["world"]})
    results = ssm.results(command)
    assert sorted(results) == sorted(ssm.ids)
    for id_ in ssm.ids:
        one = ssm.client.get_command_invocation(CommandId=command, InstanceId=id_, PluginName="first")
        assert one["StandardOutputContent"] == "hello world\n"
        three = ssm.client.get_command_invocation(CommandId=command, InstanceId=id_, PluginName="third")
        assert three["StandardOutputContent"] == ""
        assert results[id_]["Status"] == "Failed"
    with pytest.raises(ssm.client.exceptions.ClientError, match="InvalidParameters"):
        ssm.send("", **given, Parameters={"who": ["$(reboot)"]})
    with pytest.raises(ssm.client.exceptions.ClientError, match="InvalidDocument"):
        ssm.send("", DocumentName="no-such")


def test_the_first_error_stops_what_has_not_begun(ssm: Ssm) -> None:
    command = ssm.send("exit 1", MaxConcurrency="1", MaxErrors="0")
    results = ssm.results(command)
    assert sorted(each["StatusDetails"] for each in results.values()) == ["Failed", "Terminated"]
    assert ssm.command(command)["Status"] == "Failed"


def test_a_cancelled_command_ends_on_the_host(ssm: Ssm, pair: list[Host]) -> None:
    command = ssm.send("sleep 4321")
    until(lambda: all("sleep 4321" in host.run("ps ax") for host in pair))
    ssm.client.cancel_command(CommandId=command)
    assert {each["Status"] for each in ssm.results(command).values()} == {"Cancelled"}
    assert not any("sleep 4321" in host.run("ps ax") for host in pair)


def test_a_host_whose_agent_is_dead_is_not_reached_in_time_and_one_without_role_not_at_all(
    ssm: Ssm, pair: list[Host], yard: Yard
) -> None:
    (bare,) = yard.launch()
    pair[1].run("systemctl stop amazon-ssm-agent")
    try:
        reached = ssm.send("true", InstanceIds=[pair[0].id])
        missed = ssm.send("true", InstanceIds=[pair[1].id], TimeoutSeconds=30)
        bare.booted()
        with pytest.raises(ssm.client.exceptions.ClientError, match="InvalidInstanceId"):
            ssm.send("true", InstanceIds=[bare.id])
        assert ssm.results(reached)[pair[0].id]["Status"] == "Success"
        assert ssm.results(missed)[pair[1].id]["StatusDetails"] == "DeliveryTimedOut"
        assert pair[1].id not in ssm.online()
    finally:
        pair[1].run("systemctl start amazon-ssm-agent")
        yard.aws.client("ec2").terminate_instances(InstanceIds=[bare.id])
    assert ssm.results(ssm.send("true"))[pair[1].id]["Status"] == "Success"
