# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of which there is one each, as amazon.aws manages them. Trading servers belong to the fleet."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from .._aws import pages, snake
from .._components import SINGLE_HOSTS
from .._errors import PROFILE_NOT_READY
from .._naming import LIVE_STATES, Scope
from .._tags import tag_dict
from . import _ec2
from ._model import Found, ResourceType, Settings, States

# Terminated and shutting-down instances are gone for all that matters.
_METADATA = {
    "http_endpoint": "enabled",
    "http_tokens": "optional",
    "http_put_response_hop_limit": 1,
    "http_protocol_ipv6": "disabled",
    "instance_metadata_tags": "disabled",
}

_STATES = States(
    # The trading day stops hosts at night.
    healthy=frozenset({"running", "stopped"}),
    transitional=frozenset({"pending", "stopping", "shutting-down", "terminated"}),
)


def _read_instances(clients: Any, scope: Scope) -> Iterable[Found]:
    ec2 = clients("ec2")
    filters = [
        *_ec2.filters(scope),
        {"Name": "tag:Component", "Values": list(SINGLE_HOSTS)},
        {"Name": "instance-state-name", "Values": list(LIVE_STATES)},
    ]
    reservations = pages(ec2, "describe_instances", "Reservations", Filters=filters)
    instances = [instance for reservation in reservations for instance in reservation["Instances"]]
    instances.sort(key=lambda instance: (str(instance.get("LaunchTime")), instance["InstanceId"]))
    volumes = _volumes(ec2, [instance["InstanceId"] for instance in instances])
    seen: set[str] = set()
    for instance in instances:
        tags = tag_dict(instance.get("Tags"))
        name = tags.get("Name")
        # Looked at once more: not every endpoint applies filters.
        if (
            name
            and scope.names(tags)
            and tags.get("Component") in SINGLE_HOSTS
            and instance["State"]["Name"] in LIVE_STATES
        ):
            key = surplus_key(name, instance["InstanceId"]) if name in seen else name
            seen.add(name)
            yield _instance(ec2, key, instance, tags, volumes)


def surplus_key(name: str, instance_id: str) -> str:
    """What the second instance of a name is called: a launch whose answer got lost. The first one launched stays."""
    return f"{name} ({instance_id})"


def _volumes(ec2: Any, instance_ids: list[str]) -> dict[str, Settings]:
    if not instance_ids:
        return {}
    attached = [{"Name": "attachment.instance-id", "Values": instance_ids}]
    return {volume["VolumeId"]: volume for volume in pages(ec2, "describe_volumes", "Volumes", Filters=attached)}


def _instance(
    ec2: Any, key: str, instance: Mapping[str, Any], tags: dict[str, str], volumes: Mapping[str, Settings]
) -> Found:
    instance_id = instance["InstanceId"]

    def attribute(name: str, result: str) -> Any:
        return ec2.describe_instance_attribute(InstanceId=instance_id, Attribute=name).get(result, {}).get("Value")

    profile = (instance.get("IamInstanceProfile") or {}).get("Arn", "")
    metadata = {snake(name): value for name, value in (instance.get("MetadataOptions") or {}).items()}
    settings: Settings = {
        "image_id": instance["ImageId"],
        "instance_type": instance["InstanceType"],
        "vpc_subnet_id": instance.get("SubnetId"),
        "security_groups": [group["GroupId"] for group in instance.get("SecurityGroups") or ()],
        "iam_instance_profile": profile.rpartition("/")[2] or None,
        "metadata_options": {name: metadata.get(name, default) for name, default in _METADATA.items()},
        "volumes": [
            _volume(mapping["DeviceName"], mapping["Ebs"], volumes[mapping["Ebs"]["VolumeId"]])
            for mapping in instance.get("BlockDeviceMappings") or ()
            if mapping.get("Ebs", {}).get("VolumeId") in volumes
        ],
        "user_data": base64.b64decode(attribute("userData", "UserData") or "").decode("utf-8", "replace"),
        "termination_protection": bool(attribute("disableApiTermination", "DisableApiTermination")),
        "tags": tags,
    }
    attributes = {
        "id": instance_id,
        "private_ip": instance.get("PrivateIpAddress"),
        "instance_type": instance["InstanceType"],
        "zone": (instance.get("Placement") or {}).get("AvailabilityZone"),
        "state": instance["State"]["Name"],
    }
    return Found(key, settings, attributes, tags)


def _volume(device: str, mapping: Mapping[str, Any], volume: Mapping[str, Any]) -> Settings:
    return {
        "device_name": device,
        "volume_type": volume.get("VolumeType"),
        "volume_size": volume.get("Size"),
        "encrypted": volume.get("Encrypted", False),
        "delete_on_termination": mapping.get("DeleteOnTermination", True),
    }


def _normalize(arguments: Settings) -> Settings:
    compared = dict(arguments)
    if "metadata_options" in compared:
        compared["metadata_options"] = {**_METADATA, **compared["metadata_options"]}
    if "volumes" in compared:
        compared["volumes"] = [
            _wanted_volume(volume["device_name"], volume.get("ebs") or {}) for volume in compared["volumes"]
        ]
    return compared


def _wanted_volume(device: str, ebs: Mapping[str, Any]) -> Settings:
    return {
        "device_name": device,
        "volume_type": ebs.get("volume_type"),
        "volume_size": int(ebs["volume_size"]) if ebs.get("volume_size") else None,
        "encrypted": bool(ebs.get("encrypted")),
        "delete_on_termination": ebs.get("delete_on_termination", True),
    }


def _attributes(result: Settings, arguments: Settings) -> Settings:
    instance: Settings = next(iter(result.get("instances") or ()), {})
    return {
        "id": instance.get("instance_id"),
        "private_ip": instance.get("private_ip_address"),
        "instance_type": instance.get("instance_type"),
        "zone": (instance.get("placement") or {}).get("availability_zone"),
        "state": (instance.get("state") or {}).get("name"),
    }


INSTANCE = ResourceType(
    module="amazon.aws.ec2_instance",
    service="ec2",
    title="instance",
    read=_read_instances,
    compared=frozenset(
        {
            "image_id",
            "instance_type",
            "vpc_subnet_id",
            "security_groups",
            "iam_instance_profile",
            "metadata_options",
            "volumes",
            "user_data",
            "termination_protection",
            "tags",
        }
    ),
    write_ids=frozenset({"InstanceId", "Resource"}),
    states=_STATES,
    name_argument=None,
    # The module could change the type in place, but then starts an instance that the trading day had stopped.
    force_new=frozenset({"image_id", "instance_type", "vpc_subnet_id", "user_data", "volumes"}),
    replaceable=True,
    protection="termination_protection",
    normalize=_normalize,
    unordered=frozenset({"security_groups", "volumes"}),
    shapes={
        "volumes": {
            "device_name": "str",
            "ebs": {
                "volume_type": "str",
                "volume_size": "int",
                "encrypted": "bool",
                "delete_on_termination": "bool",
            },
        }
    },
    extra_arguments=lambda arguments, found: {"instance_ids": [found["attributes"]["id"]]} if found else {},
    computed=("id", "private_ip"),
    attributes=_attributes,
    delete_arguments=lambda found: {"instance_ids": [found["attributes"]["id"]], "wait": True},
    retryable_errors=(*PROFILE_NOT_READY, "InvalidParameterValue: Value (arn:aws:iam"),
    capacity_errors=(
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientFreeAddressesInSubnet",
        "MaxSpotInstanceCountExceeded",
        "InstanceLimitExceeded",
        "VcpuLimitExceeded",
        "Unsupported",
    ),
    destroy_order=30,
)

TYPES = (INSTANCE,)
