# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private DNS zone of an environment and its records, as amazon.aws manages them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._aws import pages, unless_missing
from .._naming import Scope, dns_name
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings

# The NS and SOA records that a zone begins with.
_RECORDS_AT_FIRST = 2


def _zone(reading: Any, scope: Scope) -> Settings | None:
    """The private zone; a public one may have its name. The zone and its records need it."""
    name = f"{dns_name(scope.project, scope.environment)}."
    listed = {"DNSName": name, "MaxItems": "10"}
    answer = reading.once(name, lambda: reading("route53").list_hosted_zones_by_name(**listed))
    same = (zone for zone in answer["HostedZones"] if zone["Name"] == name)
    return next((zone for zone in same if zone.get("Config", {}).get("PrivateZone")), None)


def _read_zones(clients: Any, scope: Scope) -> Iterable[Found]:
    zone = _zone(clients, scope)
    if zone is None:
        return
    client = clients("route53")
    zone_id = zone["Id"].rpartition("/")[2]
    tags = tag_dict(
        client.list_tags_for_resource(ResourceType="hostedzone", ResourceId=zone_id)["ResourceTagSet"].get("Tags")
    )
    vpcs = client.get_hosted_zone(Id=zone_id).get("VPCs") or ()
    settings = {
        "zone": dns_name(scope.project, scope.environment),
        "comment": zone.get("Config", {}).get("Comment", ""),
        "vpcs": [{"id": vpc["VPCId"], "region": vpc["VPCRegion"]} for vpc in vpcs],
        "tags": tags,
    }
    # Route 53 takes no tags with CreateHostedZone.
    unfinished = not tags and zone.get("ResourceRecordSetCount") == _RECORDS_AT_FIRST
    yield Found(dns_name(scope.project, scope.environment), settings, {"id": zone_id}, tags, unfinished=unfinished)


ZONE = ResourceType(
    name_argument="zone",
    module="amazon.aws.route53_zone",
    service="route53",
    title="private DNS zone",
    read=_read_zones,
    compared=frozenset({"zone", "comment", "vpcs", "tags"}),
    force_new=frozenset({"zone"}),
    unordered=frozenset({"vpcs"}),
    attributes=lambda result, arguments: {"id": result.get("zone_id")},
    extra_arguments=lambda arguments, found: {"hosted_zone_id": found["attributes"]["id"]} if found else {},
    delete_arguments=lambda found: {
        "vpcs": found["settings"]["vpcs"],
        "hosted_zone_id": found["attributes"]["id"],
    },
    destroy_order=65,
)


def _read_records(clients: Any, scope: Scope) -> Iterable[Found]:
    zone = _zone(clients, scope)
    if zone is None:
        return
    zone_id = zone["Id"].rpartition("/")[2]
    records = unless_missing(
        lambda: list(
            pages(clients("route53"), "list_resource_record_sets", "ResourceRecordSets", HostedZoneId=zone_id)
        ),
        "NoSuchHostedZone",
    )
    for record in records or ():
        if record["Type"] in {"NS", "SOA"}:
            continue
        name = record["Name"].rstrip(".")
        settings = {
            "record": name,
            "type": record["Type"],
            "ttl": record.get("TTL"),
            "value": [value["Value"] for value in record.get("ResourceRecords") or ()],
        }
        yield Found(name, settings, {"zone_id": zone_id}, owner=dns_name(scope.project, scope.environment))


RECORD = ResourceType(
    name_argument="record",
    computed=(),
    module="amazon.aws.route53",
    absent={"ListResourceRecordSets": {"ResourceRecordSets": [], "IsTruncated": False}},
    service="route53",
    title="DNS record",
    read=_read_records,
    compared=frozenset({"record", "type", "ttl", "value"}),
    tagged=False,
    # The module's own `region` is the one of latency routing.
    takes_region=False,
    steering=frozenset({"zone", "hosted_zone_id", "private_zone", "overwrite"}),
    unordered=frozenset({"value"}),
    extra_arguments=lambda arguments, found: {"overwrite": True, "private_zone": True},
    delete_arguments=lambda found: {
        "hosted_zone_id": found["attributes"]["zone_id"],
        "type": found["settings"]["type"],
        "ttl": found["settings"]["ttl"],
        "value": found["settings"]["value"],
        "private_zone": True,
    },
    destroy_order=20,
)

TYPES = (ZONE, RECORD)
