"""An instance is compared in the shape that its launch arguments have."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import compute
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide

SCOPE = Scope("algo-trading", "qa")
TAGS = {**SCOPE.tags("mlflow_server"), "Name": "algo-trading-mlflow-server-qa"}
WANTED: dict[str, Any] = {
    "image_id": "ami-1",
    "instance_type": "t4g.small",
    "vpc_subnet_id": "subnet-1",
    "security_groups": ["sg-2", "sg-1"],
    "iam_instance_profile": "algo-trading-mlflow-server-qa",
    "metadata_options": {"http_tokens": "required", "instance_metadata_tags": "enabled"},
    "volumes": [{"device_name": "/dev/xvda", "ebs": {"volume_type": "gp3", "volume_size": 16, "encrypted": True}}],
    "user_data": "#cloud-config\n",
    "termination_protection": True,
    "tags": TAGS,
}


def launched(instance_id: str, minute: int, name: str = TAGS["Name"]) -> dict[str, Any]:
    return {
        "InstanceId": instance_id,
        "ImageId": "ami-1",
        "InstanceType": "t4g.small",
        "SubnetId": "subnet-1",
        "LaunchTime": f"2026-03-04 05:{minute:02}",
        "State": {"Name": "running"},
        "PrivateIpAddress": "10.0.0.9",
        "SecurityGroups": [{"GroupId": "sg-1"}, {"GroupId": "sg-2"}],
        "IamInstanceProfile": {"Arn": "arn:aws:iam::1:instance-profile/algo-trading-mlflow-server-qa"},
        "MetadataOptions": {"State": "applied", "HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-1", "DeleteOnTermination": True}}],
        "Tags": [{"Key": key, "Value": value} for key, value in {**TAGS, "Name": name}.items()],
    }


class Ec2:
    """Answers as EC2 does, from plain values: what is tested is the reading, not the service."""

    def __init__(self, *instances: dict[str, Any]) -> None:
        self._instances = list(instances)

    def get_paginator(self, operation: str) -> Any:
        answers: dict[str, list[dict[str, Any]]] = {
            "describe_instances": [{"Reservations": [{"Instances": [instance]} for instance in self._instances]}],
            "describe_volumes": [
                {"Volumes": [{"VolumeId": "vol-1", "VolumeType": "gp3", "Size": 16, "Encrypted": True}]}
            ],
        }

        def paginate(**arguments: Any) -> Iterator[dict[str, Any]]:
            return iter(answers[operation])

        return SimpleNamespace(paginate=paginate)

    def describe_instance_attribute(self, InstanceId: str, Attribute: str) -> dict[str, Any]:
        data = base64.b64encode(b"#cloud-config\n").decode()
        return {"userData": {"UserData": {"Value": data}}}.get(Attribute, {"DisableApiTermination": {"Value": True}})


def read(*instances: dict[str, Any]) -> dict[str, dict[str, Any]]:
    ec2 = Ec2(*instances)
    return {found.key: found.as_dict(ours=True) for found in compute.INSTANCE.read(lambda service: ec2, SCOPE)}


def test_an_instance_as_launched_is_left() -> None:
    found = read(launched("i-1", 1))[TAGS["Name"]]
    assert decide(compute.INSTANCE, WANTED, found).reasons == ("is up to date",)
    assert found["attributes"]["private_ip"] == "10.0.0.9"


def test_every_difference_is_named() -> None:
    found = read(launched("i-1", 1))[TAGS["Name"]]
    bigger = [{"device_name": "/dev/xvda", "ebs": {"volume_type": "gp3", "volume_size": 32, "encrypted": True}}]
    changes: dict[str, Any] = {
        "security_groups": ["sg-1"],
        "metadata_options": {"http_tokens": "optional"},
        "volumes": bigger,
        "user_data": "#cloud-config\n#\n",
    }
    for name, value in changes.items():
        decision = decide(compute.INSTANCE, {**WANTED, name: value}, found)
        assert list(decision.after) == [name]


def test_of_two_instances_of_one_name_the_first_launched_stays_and_the_other_can_be_named() -> None:
    found = read(launched("i-2", 2), launched("i-1", 1), launched("i-3", 1, name="algo-trading-gpu-instance-qa"))
    name = TAGS["Name"]
    ids = {key: thing["attributes"]["id"] for key, thing in found.items()}
    assert ids == {name: "i-1", f"{name} (i-2)": "i-2", "algo-trading-gpu-instance-qa": "i-3"}
    assert compute.INSTANCE.delete_arguments(found[f"{name} (i-2)"])["instance_ids"] == ["i-2"]
