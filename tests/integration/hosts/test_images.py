"""A component's image is made by the roles, holds nothing of its builder, is not made twice, and no builder stays."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.conftest import ROOT
from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host, until
from embedded_aws.operator_role import make as make_operator

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.hosts.conftest import Yard

pytestmark = pytest.mark.hosts

PARAMETER = "/algo-trading/local/image/trading_server"
NAME = "algo-trading-trading-server-local-builder"
# Of the part of docs/permissions.md for hosts and images, what needs an AWS with SSM's sessions, or a wheel in S3.
UNNEEDED = {"HostsS3", "HostsEc2InstanceConnect", "HostsSsm", "HostsSsmb", "HostsSsmc"}


class Bakes:
    """The local environment on the session's AWS, with a network and identities of its own."""

    def __init__(self, yard: Yard, folder: Path) -> None:
        self.yard = yard
        # A stand-in for the trading code that needs no package.
        make = "import sys; from pathlib import Path; from world import wheel; wheel(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", make, folder], cwd=ROOT / "molecule/trading_server", check=True)
        (made,) = folder.glob("*.whl")
        self.code = {"trading_server_wheel": str(made), "trading_server_version": "1.0.0",
                     "trading_server_wheel_sha256": hashlib.sha256(made.read_bytes()).hexdigest()}  # fmt: skip
        self.ec2 = yard.aws.client("ec2")
        self.role = make_operator(yard.aws.endpoint)
        self("playbooks/site.yml", "--tags", "network,identity")

    def command(self, *args: str) -> list[str]:
        # Another range than the tests' own network, whose hosts run.
        given = {"algo_endpoint_url": self.yard.aws.endpoint, "algo_adopt": [], "aws_network_cidr": "10.66.0.0/16"}
        given |= self.code
        program = str(Path(sys.executable).parent / "ansible-playbook")
        return [program, "-i", "inventories/local", *args, "-e", json.dumps(given | {"algo_hosts": True})]

    @contextlib.contextmanager
    def as_operator(self) -> Iterator[None]:
        """Whoever has no role may do what docs/permissions.md says, and nothing else."""
        self.yard.control("permissions", "PUT", operator=self.role)
        try:
            yield
        finally:
            self.yard.control("permissions", "PUT", operator="")

    def __call__(self, *args: str) -> str:
        with self.as_operator():
            done = subprocess.run(
                self.command(*args), env=self.yard.env, cwd=ROOT, capture_output=True, text=True, timeout=1200
            )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def bake(self, *args: str) -> str:
        return " ".join(self("playbooks/bake_ami.yml", "-e", "component=trading_server", *args).split())

    def builders(self, *states: str) -> list[dict[str, Any]]:
        filters = [{"Name": "tag:Name", "Values": [NAME]}, {"Name": "instance-state-name", "Values": list(states)}]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def older(self, image: dict[str, Any]) -> str:
        """Make another image of the component, with its snapshot and their tags, as an earlier bake did."""
        copied = {"SourceImageId": image["ImageId"], "SourceRegion": "us-east-1", "Name": "older"}
        made = str(self.ec2.copy_image(**copied)["ImageId"])
        (record,) = self.ec2.describe_images(ImageIds=[made])["Images"]
        snapshots = [disk["Ebs"]["SnapshotId"] for disk in record["BlockDeviceMappings"] if "Ebs" in disk]
        tags = [{**tag, "Value": "older"} if tag["Key"] == "ContentDigest" else tag for tag in image["Tags"]]
        self.ec2.create_tags(Resources=[made, *snapshots], Tags=tags)
        return made

    def images(self) -> list[dict[str, Any]]:
        return list(self.ec2.describe_images(Owners=["self"])["Images"])


@pytest.fixture(scope="module")
def bakes(yard: Yard, tmp_path_factory: pytest.TempPathFactory) -> Bakes:
    return Bakes(yard, tmp_path_factory.mktemp("code"))


def test_no_builder_is_launched_without_trading_code(bakes: Bakes) -> None:
    for missing, told in (
        ({"trading_server_wheel": ""}, "There is no trading code"),
        ({"trading_server_wheel_sha256": "0" * 64}, "has the SHA-256"),
    ):
        command = [
            *bakes.command("playbooks/bake_ami.yml", "-e", "component=trading_server"),
            "-e",
            json.dumps(missing),
        ]
        done = subprocess.run(command, env=bakes.yard.env, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode != 0
        assert told in " ".join(done.stdout.split())
        assert not bakes.builders("pending", "running", "shutting-down", "terminated")


def test_the_builder_of_a_killed_run_ends_itself(bakes: Bakes) -> None:
    command = bakes.command("playbooks/bake_ami.yml", "-e", "component=trading_server")
    with subprocess.Popen(
        command, env=bakes.yard.env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as running:  # fmt: skip
        try:
            (made,) = until(lambda: bakes.builders("pending", "running") or running.poll() is not None)
        finally:
            os.killpg(running.pid, signal.SIGKILL)
    builder = Host(bakes.yard, made["InstanceId"]).booted()
    assert "algo-builder-ends.timer" in builder.run("systemctl list-timers algo-builder-ends.timer")
    builder.run("systemctl start --no-block algo-builder-ends.service")  # an hour later
    until(lambda: builder.state == "terminated")
    assert not bakes.images()


def test_an_image_is_made_and_not_made_again(bakes: Bakes) -> None:
    planned = bakes.bake("--check")
    assert "would become an image" in planned
    assert not bakes.images()
    bakes.bake()
    (image,) = bakes.images()
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert tags["Component"] == "trading_server"
    assert {"ContentDigest", "SourceImage", "Commit", "PackagesDigest"} <= tags.keys()
    ssm = bakes.yard.aws.client("ssm")
    assert ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"] == image["ImageId"]
    assert not bakes.builders("pending", "running", "stopping", "stopped")
    groups = bakes.ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": [NAME]}])
    assert groups["SecurityGroups"] == []

    older = bakes.older(image)
    assert {each["ImageId"] for each in bakes.images()} == {image["ImageId"], older}
    bakes.yard.aws.forget_calls()
    assert f"{image['ImageId']}, which has this content already" in bakes.bake("-e", "algo_image_keep=0")
    changing = bakes.yard.aws.calls(write=True, by_role=False)  # a builder that just ended may still report itself
    # Of the images, only the older one goes: this one is the candidate.
    removed = {"DeregisterImage", "DeleteSnapshot"}
    assert removed < {call.operation for call in changing} <= {"PutParameter", "DeleteParameter", *removed}
    assert bakes.images() == [image]
    told = bakes.yard.aws.permissions()
    assert [each for each in told["refused"] if each["role"] == bakes.role] == []
    unneeded = {
        each["statement"] for each in told["unneeded"] if (each["role"], each["policy"]) == (bakes.role, "hosts")
    }
    assert unneeded == UNNEEDED


def test_a_host_of_the_image_is_a_new_host(bakes: Bakes) -> None:
    (image,) = bakes.images()
    first, second = bakes.yard.launch(2, ImageId=image["ImageId"], UserData="#!/bin/sh\necho new > /root/told\n")
    for host in (first.booted(), second.booted()):
        assert host.run("systemctl is-system-running; cat /root/told").split() == ["running", "new"]
        assert host.run("systemctl is-enabled algo-first-boot.service algo-halt.service").split() == ["enabled"] * 2
        assert host.run("ls /etc/algo-trading") == ""
        # It trades nothing without its settings.
        assert "ConditionResult=no" in host.run("systemctl show --property=ConditionResult algo-first-boot.service")
    identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"
    assert set(first.run(identity).split()) & set(second.run(identity).split()) <= {"ssh-ed25519"}
    bakes.ec2.terminate_instances(InstanceIds=[first.id, second.id])
