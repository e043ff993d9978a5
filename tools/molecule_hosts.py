"""Hosts of a molecule scenario: instances of an embedded AWS with hosts (molecule/shared).

molecule_hosts.py launch STATE FOLDER PLATFORMS
    Launch one for each platform, wait until they have booted, and write into FOLDER what molecule needs to connect.
molecule_hosts.py end STATE FOLDER
    Terminate them.

A platform may have `tags`, `user_data` and `statements`: what its role may do besides registering with SSM.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

_BOOT_SECONDS = 400  # on a busy machine, which may have to make the base image first
_REGISTER = {"Effect": "Allow", "Action": ["ssm:UpdateInstanceInformation", "ec2messages:*"], "Resource": "*"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("launch", "end"))
    parser.add_argument("state", type=Path, help="state directory of the embedded AWS")
    parser.add_argument("folder", type=Path, help="the scenario's ephemeral directory")
    parser.add_argument("platforms", nargs="?", type=json.loads)
    args = parser.parse_args()
    scenario = Scenario(args.state, args.folder)
    if args.action == "end":
        scenario.end()
    elif not scenario.instances():
        scenario.launch(args.platforms)
        print("launched")


class Scenario:
    def __init__(self, state: Path, folder: Path) -> None:
        import boto3

        self._state, self._folder = state, folder
        self._config = folder / "instance_config.yml"  # where molecule looks; JSON is YAML
        session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
        endpoint = (state / "endpoint").read_text().strip()
        self._ec2 = session.client("ec2", endpoint_url=endpoint)
        self._iam = session.client("iam", endpoint_url=endpoint)

    def instances(self) -> list[str]:
        """Ids of the running hosts of the scenario."""
        recorded = json.loads(self._config.read_text() or "[]") if self._config.exists() else []
        ids = [each["address"] for each in recorded or []]
        known = [instance for instance, (state, _) in self._statuses().items() if state == "running"]
        return [id_ for id_ in ids if id_ in known]

    def launch(self, platforms: list[dict[str, Any]]) -> None:
        vpc, subnet, group = self._network()
        launched = {each["name"]: self._run(each, vpc, subnet, group) for each in platforms}
        deadline = time.monotonic() + _BOOT_SECONDS
        while states := self._unready(list(launched.values())):
            if "terminated" in str(states) or time.monotonic() > deadline:
                sys.exit(f"hosts did not boot: {states}; {self._state / 'server.log'}")
            time.sleep(0.3)
        settings = self._state / "ssh" / "config"
        (self._folder / "ssh.cfg").write_text(f'Include "{settings}"\n')
        key = str(settings.with_name("key"))
        written = [
            {"instance": name, "address": id_, "user": "admin", "port": 22, "identity_file": key}
            for name, id_ in launched.items()
        ]
        self._config.write_text(json.dumps(written))

    def end(self) -> None:
        ids = self.instances()
        if ids:
            self._ec2.terminate_instances(InstanceIds=ids)
            print("terminated")
        self._config.unlink(missing_ok=True)

    def _network(self) -> tuple[str, str, str]:
        """A VPC of its own: the embedded AWS may serve several scenarios."""
        taken = {vpc["CidrBlock"] for vpc in self._ec2.describe_vpcs()["Vpcs"]}
        cidr = next(f"10.{number}.0.0/16" for number in range(100, 200) if f"10.{number}.0.0/16" not in taken)
        vpc = self._ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        range_ = str(next(ipaddress.ip_network(cidr).subnets(new_prefix=24)))
        subnet = self._ec2.create_subnet(VpcId=vpc, CidrBlock=range_)["Subnet"]["SubnetId"]
        group = self._ec2.create_security_group(GroupName="within", Description="within", VpcId=vpc)["GroupId"]
        within = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        self._ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[within])
        return str(vpc), str(subnet), str(group)

    def _run(self, platform: dict[str, Any], vpc: str, subnet: str, group: str) -> str:
        profile = self._profile(platform.get("statements", []))
        tags = {"Name": platform["name"], **platform.get("tags", {})}
        made = self._ec2.run_instances(
            MinCount=1,
            MaxCount=1,
            ImageId="ami-12c6146b",
            InstanceType="t3.small",
            SubnetId=subnet,
            SecurityGroupIds=[group],
            IamInstanceProfile={"Name": profile},
            UserData=platform.get("user_data", ""),
            MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
            TagSpecifications=[
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
        return str(made["Instances"][0]["InstanceId"])

    def _profile(self, statements: list[dict[str, Any]]) -> str:
        name = f"molecule-{secrets.token_hex(4)}"
        self._iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": []}))
        document = {"Version": "2012-10-17", "Statement": [_REGISTER, *statements]}
        self._iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))
        self._iam.create_instance_profile(InstanceProfileName=name)
        self._iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return name

    def _statuses(self) -> dict[str, tuple[str, str]]:
        """State and status of all instances."""
        pages = self._ec2.get_paginator("describe_instance_status").paginate(IncludeAllInstances=True)
        return {
            each["InstanceId"]: (each["InstanceState"]["Name"], each["InstanceStatus"]["Status"])
            for page in pages
            for each in page["InstanceStatuses"]
        }

    def _unready(self, ids: list[str]) -> dict[str, tuple[str, str]]:
        statuses = self._statuses()
        return {id_: statuses[id_] for id_ in ids if statuses[id_] != ("running", "ok")}


if __name__ == "__main__":
    main()
