# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts about an account and region that settings are checked against, one function for each question to AWS."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ._aws import Reading, caller, pages, unless_missing
from ._errors import NOT_OFFERED, error_code, kind_of
from ._naming import LIVE_STATES, Scope
from ._tags import tag_dict


def account_facts(reading: Reading) -> dict[str, str]:
    """Whose credentials these are: ``account_id``, ``caller_arn``, ``partition``."""
    identity = caller(reading)
    return {
        "account_id": identity["Account"],
        "caller_arn": identity["Arn"],
        "partition": identity["Arn"].split(":")[1],
    }


def offered_zones(clients: Callable[[str], Any]) -> list[str]:
    """Names of the usable availability zones, sorted; local and wavelength zones are left out."""
    answer = clients("ec2").describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])
    return sorted(
        zone["ZoneName"]
        for zone in answer["AvailabilityZones"]
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
    )


def is_embedded(clients: Callable[[str], Any]) -> bool:
    """Whether this is an emulator rather than AWS itself, which boots nothing and knows few images."""
    host = urlsplit(clients("sts").meta.endpoint_url).hostname or ""
    return not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".on.aws"))


def resolve_images(clients: Callable[[str], Any], images: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Label → machine image. What can't be resolved gets ``error``, in words; other failures are raised.

    An emulator does not carry every publisher's images. There, Amazon Linux of the architecture stands in for one that
    it does not know, or else its newest image, marked ``stand_in``.
    """
    resolved = _resolve_images(clients, images)
    unresolved = [label for label, image in resolved.items() if "error" in image]
    if not unresolved or not is_embedded(clients):
        return resolved
    lent = _resolve_images(clients, {label: _STAND_IN + _architecture(images[label]) for label in unresolved})
    for label, image in lent.items():
        if "error" not in image:
            resolved[label] = {**image, "stand_in": images[label]}
    unresolved = [label for label in unresolved if "error" in lent[label]]
    # An emulator's list of all images is long.
    known = clients("ec2").describe_images(Owners=["amazon"])["Images"] if unresolved else []
    for label in unresolved:
        newest = max(known, key=lambda image: _nearness(image, images[label]), default=None)
        if newest is not None:
            resolved[label] = {**_image(newest), "stand_in": images[label]}
    return resolved


_STAND_IN = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"


def _architecture(wanted: str) -> str:
    return "arm64" if "arm64" in wanted else "x86_64"


def _nearness(image: Mapping[str, Any], wanted: str) -> tuple[bool, bool, str, str]:
    """Orders an emulator's images by how well each may stand in for the wanted one."""
    architecture = _architecture(wanted)
    windows = "windows" in str(image.get("Name", "")).lower()
    return image.get("Architecture") == architecture, not windows, image.get("CreationDate") or "", image["ImageId"]


def _image(image: Mapping[str, Any]) -> dict[str, str]:
    return {
        "id": image["ImageId"],
        "name": image.get("Name", ""),
        "architecture": image.get("Architecture", ""),
        "root_device_name": image.get("RootDeviceName", ""),
    }


def _resolve_images(clients: Callable[[str], Any], images: Mapping[str, str]) -> dict[str, dict[str, str]]:
    resolved: dict[str, dict[str, str]] = {}
    ids: dict[str, str] = {}
    for label, source in images.items():
        if source.startswith("ami-"):
            ids[label] = source
            continue
        try:
            ids[label] = clients("ssm").get_parameter(Name=source)["Parameter"]["Value"]
        except Exception as error:
            if error_code(error) != "ParameterNotFound":
                raise
            resolved[label] = {"error": f"the public SSM parameter {source} does not exist in this region"}
    found = _describe_images(clients("ec2"), sorted(set(ids.values())))
    for label, image_id in ids.items():
        image = found.get(image_id)
        if image is None:
            resolved[label] = {
                "error": f"image {image_id} does not exist in this region or is not shared with this account"
            }
            continue
        resolved[label] = _image(image)
    return resolved


def _describe_images(ec2: Any, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Those of the images that exist. AWS refuses the whole list for one that does not, and then names it."""
    while ids:
        try:
            return {image["ImageId"]: image for image in ec2.describe_images(ImageIds=ids)["Images"]}
        except Exception as error:
            if not error_code(error).startswith("InvalidAMIID"):
                raise
            missing = {image_id for image_id in ids if image_id in str(error)}
            ids = [image_id for image_id in ids if image_id not in missing] if missing else ids[1:]
    return {}


def unknown_instance_types(clients: Callable[[str], Any], names: Iterable[str]) -> list[str]:
    """Those of ``names`` that the region does not offer."""
    wanted = sorted(set(names))
    if not wanted:
        return []
    try:
        offered = _offered_types(clients("ec2"), wanted)
    except Exception as error:
        if kind_of(error) == NOT_OFFERED and is_embedded(clients):
            return []  # an emulator that can't say launches anything
        raise
    return [name for name in wanted if name not in offered]


def _offered_types(ec2: Any, wanted: Iterable[str]) -> set[str]:
    well_formed = [name for name in wanted if re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", name)]
    return {
        offering["InstanceType"]
        for offering in pages(
            ec2,
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="region",
            Filters=[{"Name": "instance-type", "Values": well_formed}],
        )
    }


def leftovers(clients: Callable[[str], Any], scope: Scope) -> dict[str, list[str]]:
    """What carries the environment's tags, as the Resource Groups Tagging API sees it.

    That view lags behind, and keeps what is on its way out: terminated instances, deleted gateways.

    :return: ARNs: ``left``, what is still there; ``kept``, what a removal leaves on purpose, as long as it can be had
        back (final snapshots, secrets in their recovery window), and machine images with their snapshots.
    """
    filters = [{"Key": name, "Values": [value]} for name, value in scope.tags("").items() if value]
    client = clients("resourcegroupstaggingapi")
    arns = {
        found["ResourceARN"]
        for found in pages(client, "get_resources", "ResourceTagMappingList", TagFilters=filters)
        # Looked at once more: not every endpoint applies filters.
        if scope.owns(tag_dict(found.get("Tags")))
    }
    gone = _gone(clients("ec2"), arns)
    kept = {arn for arn in arns if ":rds:" in arn and ":snapshot:" in arn}
    # Images that we made, which other environments may use.
    kept |= {arn for arn in arns if ":ec2:" in arn and (":image/" in arn or ":snapshot/" in arn)}
    kept |= {arn for arn in arns if ":secretsmanager:" in arn and _is_going(clients("secretsmanager"), arn)}
    return {"left": sorted(arns - gone - kept), "kept": sorted(kept)}


def _gone(ec2: Any, arns: Iterable[str]) -> set[str]:
    """Those of the instances and NAT gateways that are no more, one call for each kind."""
    by_id = {arn.rpartition("/")[2]: arn for arn in arns if ":ec2:" in arn}
    instances = [resource_id for resource_id in by_id if resource_id.startswith("i-")]
    gateways = [resource_id for resource_id in by_id if resource_id.startswith("nat-")]
    alive: set[str] = set()
    if instances:
        states = [{"Name": "instance-state-name", "Values": list(LIVE_STATES)}]
        for reservation in pages(ec2, "describe_instances", "Reservations", Filters=states):
            alive |= {
                instance["InstanceId"]
                for instance in reservation["Instances"]
                if instance["State"]["Name"] in LIVE_STATES
            }
    if gateways:
        states = [{"Name": "state", "Values": ["pending", "available", "deleting"]}]
        alive |= {
            gateway["NatGatewayId"] for gateway in pages(ec2, "describe_nat_gateways", "NatGateways", Filters=states)
        }
    return {by_id[resource_id] for resource_id in (*instances, *gateways) if resource_id not in alive}


def _is_going(secrets: Any, arn: str) -> bool:
    found = unless_missing(secrets.describe_secret, "ResourceNotFoundException", SecretId=arn)
    return found is None or "DeletedDate" in found
