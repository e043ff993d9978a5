"""One server with hosts for all tests of this folder, and two hosts that they share."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.conftest import Aws, start_aws

if TYPE_CHECKING:
    from typing import Protocol

    class Launch(Protocol):
        def __call__(self, number: int = 1, **given: Any) -> list[Host]: ...


sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from embedded_aws.hosts import image, requirements
from embedded_aws.hosts.enclosure import EnclosureError

CIDR = "10.10.0.0/16"
# A host boots in seconds; a busy machine, or one that makes the base image first, takes longer.
PATIENCE = 400
_CALL = re.compile(r"\S+ \S+:\S* \d{3} \d+ ms")  # a line of the server's log


class Host:
    """One instance."""

    def __init__(self, yard: Yard, id_: str) -> None:
        self.yard, self.id = yard, id_

    def run(self, command: str) -> str:
        """Run a shell command as root in the host, past the API; returns what it printed."""
        return str(self.yard.control("hosts", "POST", instance=self.id, command=["sh", "-c", command])["output"])

    def described(self) -> dict[str, Any]:
        found = self.yard.aws.client("ec2").describe_instances(InstanceIds=[self.id])
        return dict(found["Reservations"][0]["Instances"][0])

    @property
    def state(self) -> str:
        return str(self.described()["State"]["Name"])

    @property
    def status(self) -> str:
        found = self.yard.aws.client("ec2").describe_instance_status(InstanceIds=[self.id], IncludeAllInstances=True)
        return str(found["InstanceStatuses"][0]["InstanceStatus"]["Status"])

    def booted(self) -> Host:
        until(lambda: self.status == "ok", lambda: f"{self.id}: {self.state}, {self.status}\n{self.yard.log()}")
        return self


class Yard:
    """An AWS with hosts.

    :param state: its state directory
    """

    def __init__(self, aws: Aws, state: Path) -> None:
        self.aws, self.state = aws, state
        # ssh's control sockets; the names of the tests' own directories are too long for them.
        self.sockets = tempfile.TemporaryDirectory(prefix="ssh-")
        ec2 = aws.client("ec2")
        self.vpc = str(ec2.create_vpc(CidrBlock=CIDR)["Vpc"]["VpcId"])
        self.group = self.make_group("within")  # its members may do everything with each other
        inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": self.group}]}
        ec2.authorize_security_group_ingress(GroupId=self.group, IpPermissions=[inside])
        self.subnet = str(ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.10.0.0/24")["Subnet"]["SubnetId"])

    def launch(self, number: int = 1, **given: Any) -> list[Host]:
        options: dict[str, Any] = {
            "ImageId": "ami-12c6146b",
            "SubnetId": self.subnet,
            "SecurityGroupIds": [self.group],
            "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
            **given,
        }
        made = self.aws.client("ec2").run_instances(MinCount=number, MaxCount=number, **options)
        return [Host(self, each["InstanceId"]) for each in made["Instances"]]

    @property
    def env(self) -> dict[str, str]:
        """The environment of a run on the local environment's inventory, with these hosts."""
        return self.aws.env | {
            "ALGO_LOCAL_DIR": str(self.state.parent),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": self.sockets.name,
        }

    def make_group(self, name: str) -> str:
        """Make a security group that lets nothing in."""
        made = self.aws.client("ec2").create_security_group(GroupName=name, Description=name, VpcId=self.vpc)
        return str(made["GroupId"])

    def profile(self, name: str, *statements: dict[str, Any]) -> str:
        """Make an instance profile whose role has these permissions."""
        iam = self.aws.client("iam")
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": []}))
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    def control(self, name: str, method: str = "GET", **given: Any) -> Any:
        body = json.dumps(given).encode() if given else None
        request = urllib.request.Request(f"{self.aws.endpoint}/_algo/{name}", data=body, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=330) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def log(self) -> str:
        """What the server said last, without the calls."""
        said = (self.state / "server.log").read_text().splitlines()
        return "\n".join(line for line in said if not _CALL.match(line))[-4000:]


def until(condition: Callable[[], Any], otherwise: Callable[[], str] = lambda: "") -> Any:
    """Wait for something to be there; returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE} s. {otherwise()}"
        time.sleep(0.2)
    return found


class Server:
    """A server with hosts, as a process of its own."""

    def __init__(self, base: Path) -> None:
        self.state = base / "aws"  # where `base` is ALGO_LOCAL_DIR, this is the local environment's
        self.process = start_aws(self.state, "--with-hosts")
        assert self.process.stdout
        said = self.process.stdout.readline()
        assert said, (self.state / "server.log").read_text()
        home = base / "home"
        home.mkdir()
        endpoint = f"http://127.0.0.1:{json.loads(said)['port']}"
        (self.state / "endpoint").write_text(endpoint)
        self.yard = Yard(Aws(endpoint, home), self.state)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def possible() -> None:
    """Hosts can run; skips the test where they cannot, or fails it with HOSTS=on."""
    why = requirements.missing()
    if not why:
        try:
            image.ensure(print)
        except EnclosureError as error:  # no package lists, or no way to the packages
            why = str(error)
    if why:
        stop = pytest.fail if os.environ.get("HOSTS") == "on" else pytest.skip
        stop(f"NOT TESTED: instances as hosts cannot run here; {why}")


@pytest.fixture(scope="session")
def yard(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    server = Server(tmp_path_factory.mktemp("hosts"))
    yield server.yard
    server.close()


USER_DATA = "#!/bin/sh\necho from user data > /root/told\n"


@pytest.fixture(scope="session")
def pair(yard: Yard) -> list[Host]:
    """Two running hosts with a role that lets SSM reach them."""
    register = {
        "Effect": "Allow",
        "Action": "ssm:UpdateInstanceInformation",
        "Resource": "arn:aws:ec2:us-east-1:123456789012:instance/*",
    }
    profile = yard.profile("pair", register, {"Effect": "Allow", "Action": "ec2messages:*", "Resource": "*"})
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Fleet", "Value": "pair"}]}]
    hosts = yard.launch(2, UserData=USER_DATA, IamInstanceProfile={"Name": profile}, TagSpecifications=tags)
    return [host.booted() for host in hosts]


def processes(text: str) -> list[str]:
    """Command lines of this machine's processes that contain a text."""
    listed = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if text in line]
