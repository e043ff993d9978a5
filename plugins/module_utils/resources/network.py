# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""VPC, subnets, gateways, routes and endpoints, as amazon.aws manages them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .._aws import pages
from .._naming import Scope
from .._tags import tag_dict
from . import _ec2
from ._model import Found, ResourceType, Settings, States

# Of a VPC and its subnets.
_AVAILABLE = States(healthy=frozenset({"available"}), transitional=frozenset({"pending"}))


def _by_id(result_key: str, id_key: str) -> Any:
    def attributes(result: Settings, arguments: Settings) -> Settings:
        return {"id": (result.get(result_key) or {}).get(id_key)}

    return attributes


# ---- VPC ----


def _read_vpcs(clients: Any, scope: Scope) -> Iterable[Found]:
    ec2 = clients("ec2")
    for vpc, tags in _ec2.tagged(clients, scope, "describe_vpcs", "Vpcs"):
        dns = {
            name: ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute=attribute)[result]["Value"]
            for name, attribute, result in (
                ("dns_support", "enableDnsSupport", "EnableDnsSupport"),
                ("dns_hostnames", "enableDnsHostnames", "EnableDnsHostnames"),
            )
        }
        cidrs = [
            block["CidrBlock"]
            for block in vpc.get("CidrBlockAssociationSet", ())
            if block["CidrBlockState"]["State"] == "associated"
        ]
        settings = {"name": tags["Name"], "cidr_block": cidrs or [vpc["CidrBlock"]], **dns, "tags": tags}
        yield Found(
            tags["Name"], settings, {"id": vpc["VpcId"], "cidr": vpc["CidrBlock"], "state": vpc.get("State")}, tags
        )


VPC = ResourceType(
    module="amazon.aws.ec2_vpc_net",
    service="ec2",
    title="VPC",
    read=_read_vpcs,
    compared=frozenset({"name", "cidr_block", "dns_support", "dns_hostnames", "tags"}),
    write_ids=frozenset({"VpcId", "Resource"}),
    states=_AVAILABLE,
    force_new=frozenset({"cidr_block"}),
    attributes=_by_id("vpc", "id"),
    extra_arguments=lambda arguments, found: {"vpc_id": found["attributes"]["id"]} if found else {},
    delete_arguments=lambda found: {"vpc_id": found["attributes"]["id"]},
    destroy_order=95,
)


# ---- subnet ----


def _read_subnets(clients: Any, scope: Scope) -> Iterable[Found]:
    for subnet, tags in _ec2.tagged(clients, scope, "describe_subnets", "Subnets"):
        settings = {
            "vpc_id": subnet["VpcId"],
            "cidr": subnet["CidrBlock"],
            "az": subnet["AvailabilityZone"],
            "map_public": subnet["MapPublicIpOnLaunch"],
            "tags": tags,
        }
        attributes = {
            "id": subnet["SubnetId"],
            "vpc_id": subnet["VpcId"],
            "az": subnet["AvailabilityZone"],
            "cidr": subnet["CidrBlock"],
            "state": subnet.get("State"),
            "free_addresses": subnet.get("AvailableIpAddressCount"),
        }
        yield Found(tags["Name"], settings, attributes, tags)


SUBNET = ResourceType(
    name_argument=None,
    module="amazon.aws.ec2_vpc_subnet",
    absent={"DescribeSubnets": {"Subnets": []}},
    service="ec2",
    title="subnet",
    read=_read_subnets,
    compared=frozenset({"vpc_id", "cidr", "az", "map_public", "tags"}),
    write_ids=frozenset({"SubnetId", "Resource"}),
    states=_AVAILABLE,
    force_new=frozenset({"cidr", "az", "vpc_id"}),
    attributes=_by_id("subnet", "id"),
    delete_arguments=lambda found: {"vpc_id": found["attributes"]["vpc_id"], "cidr": found["attributes"]["cidr"]},
    destroy_order=90,
)


# ---- internet gateway ----


def _read_internet_gateways(clients: Any, scope: Scope) -> Iterable[Found]:
    ours = [
        _internet_gateway(gateway, tags["Name"], tags)
        for gateway, tags in _ec2.tagged(clients, scope, "describe_internet_gateways", "InternetGateways")
    ]
    return ours or _attached_by_others(clients, scope)


def _attached_by_others(clients: Any, scope: Scope) -> Iterable[Found]:
    """A gateway without our tags at a VPC of ours. The module would take it over instead of making one.

    It tags what it makes in the same call, so this is not one that an interrupted run has left.
    """
    found = _ec2.tagged(clients, scope, "describe_vpcs", "Vpcs")
    vpcs = [vpc["VpcId"] for vpc, tags in found if scope.owns(tags)]
    if not vpcs:
        return
    attached = [{"Name": "attachment.vpc-id", "Values": vpcs}]
    for gateway in pages(clients("ec2"), "describe_internet_gateways", "InternetGateways", Filters=attached):
        other = _internet_gateway(gateway, scope.name("network"), tag_dict(gateway.get("Tags")))
        if other.attributes["vpc_id"] in vpcs:
            where = f"{other.attributes['id']} is attached to {other.attributes['vpc_id']}"
            yield replace(other, note=f"{where} without this environment's tags")


def _internet_gateway(gateway: Settings, name: str, tags: dict[str, str]) -> Found:
    attached = [attachment["VpcId"] for attachment in gateway.get("Attachments", ())]
    vpc_id = attached[0] if attached else None
    attributes = {"id": gateway["InternetGatewayId"], "vpc_id": vpc_id}
    return Found(name, {"vpc_id": vpc_id, "tags": tags}, attributes, tags)


INTERNET_GATEWAY = ResourceType(
    name_argument=None,
    module="amazon.aws.ec2_vpc_igw",
    service="ec2",
    title="internet gateway",
    read=_read_internet_gateways,
    compared=frozenset({"vpc_id", "tags"}),
    write_ids=frozenset({"InternetGatewayId", "Resource"}),
    attributes=lambda result, arguments: {"id": result.get("gateway_id")},
    extra_arguments=lambda arguments, found: {"internet_gateway_id": found["attributes"]["id"]} if found else {},
    delete_arguments=lambda found: {"internet_gateway_id": found["attributes"]["id"], "detach_vpc": True},
    destroy_order=85,
)


# ---- elastic address and NAT gateway ----


def _read_addresses(clients: Any, scope: Scope) -> Iterable[Found]:
    for address in clients("ec2").describe_addresses(Filters=_ec2.filters(scope))["Addresses"]:
        tags = tag_dict(address.get("Tags"))
        if "Name" in tags and scope.names(tags):
            attributes = {"allocation_id": address["AllocationId"], "public_ip": address["PublicIp"]}
            yield Found(tags["Name"], {"tags": tags}, attributes, tags)


ADDRESS = ResourceType(
    name_argument=None,
    computed=("allocation_id", "public_ip"),
    module="amazon.aws.ec2_eip",
    service="ec2",
    title="elastic address",
    read=_read_addresses,
    compared=frozenset({"tags"}),
    write_ids=frozenset({"AllocationId", "PublicIp", "Resource"}),
    create_only=frozenset({"in_vpc"}),
    attributes=lambda result, arguments: {
        "allocation_id": result.get("allocation_id"),
        "public_ip": result.get("public_ip"),
    },
    extra_arguments=lambda arguments, found: {"public_ip": found["attributes"]["public_ip"]} if found else {},
    delete_arguments=lambda found: {"public_ip": found["attributes"]["public_ip"]},
    destroy_order=80,
)


def _read_nat_gateways(clients: Any, scope: Scope) -> Iterable[Found]:
    client = clients("ec2")
    alive = [*_ec2.filters(scope), {"Name": "state", "Values": ["pending", "available"]}]
    for gateway in pages(client, "describe_nat_gateways", "NatGateways", Filters=alive):
        tags = tag_dict(gateway.get("Tags"))
        # Looked at once more: not every endpoint filters these.
        if "Name" in tags and scope.names(tags) and gateway["State"] in {"pending", "available"}:
            settings = {"subnet_id": gateway["SubnetId"], "tags": tags}
            attributes = {"id": gateway["NatGatewayId"], "state": gateway["State"]}
            yield Found(tags["Name"], settings, attributes, tags)


NAT_GATEWAY = ResourceType(
    name_argument=None,
    module="amazon.aws.ec2_vpc_nat_gateway",
    service="ec2",
    title="NAT gateway",
    read=_read_nat_gateways,
    compared=frozenset({"subnet_id", "tags"}),
    write_ids=frozenset({"NatGatewayId", "Resource"}),
    states=States(healthy=frozenset({"available"}), transitional=frozenset({"pending", "deleting"})),
    force_new=frozenset({"subnet_id"}),
    create_only=frozenset({"allocation_id"}),
    attributes=lambda result, arguments: {"id": result.get("nat_gateway_id")},
    # Without an id the module would take over any gateway of the subnet, if it were allowed to.
    extra_arguments=lambda arguments, found: {"nat_gateway_id": found["attributes"]["id"]} if found else {},
    delete_arguments=lambda found: {"nat_gateway_id": found["attributes"]["id"], "wait": True, "wait_timeout": 600},
    destroy_order=70,
)


# ---- route table ----


def _read_route_tables(clients: Any, scope: Scope) -> Iterable[Found]:
    for table, tags in _ec2.tagged(clients, scope, "describe_route_tables", "RouteTables"):
        routes = [
            {
                "dest": route["DestinationCidrBlock"],
                "gateway_id": route.get("GatewayId") or route.get("NatGatewayId") or route.get("TransitGatewayId"),
            }
            for route in table.get("Routes", ())
            # The local route and those of gateway endpoints are AWS's own.
            if route.get("DestinationCidrBlock") and route.get("GatewayId") != "local"
        ]
        subnets = [entry["SubnetId"] for entry in table.get("Associations", ()) if entry.get("SubnetId")]
        settings = {"vpc_id": table["VpcId"], "subnets": subnets, "routes": routes, "tags": tags}
        attributes = {"id": table["RouteTableId"], "vpc_id": table["VpcId"]}
        yield Found(tags["Name"], settings, attributes, tags)


ROUTE_TABLE = ResourceType(
    name_argument=None,
    module="amazon.aws.ec2_vpc_route_table",
    service="ec2",
    title="route table",
    read=_read_route_tables,
    compared=frozenset({"vpc_id", "subnets", "routes", "tags"}),
    write_ids=frozenset({"RouteTableId", "Resource"}),
    tagged_later=True,
    force_new=frozenset({"vpc_id"}),
    unordered=frozenset({"subnets", "routes"}),
    shapes={"routes": {"dest": "str", "gateway_id": "str"}},
    attributes=_by_id("route_table", "id"),
    extra_arguments=lambda arguments, found: (
        {"lookup": "id", "route_table_id": found["attributes"]["id"]} if found else {"lookup": "tag"}
    ),
    delete_arguments=lambda found: {
        "lookup": "id",
        "route_table_id": found["attributes"]["id"],
        "vpc_id": found["attributes"]["vpc_id"],
    },
    destroy_order=88,
)


# ---- VPC endpoint ----


def _read_endpoints(clients: Any, scope: Scope) -> Iterable[Found]:
    for endpoint, tags in _ec2.tagged(clients, scope, "describe_vpc_endpoints", "VpcEndpoints"):
        if str(endpoint.get("State", "")).lower() in {"deleting", "deleted", "failed", "rejected"}:
            continue
        settings = {
            "vpc_id": endpoint["VpcId"],
            "service": endpoint["ServiceName"],
            "vpc_endpoint_type": endpoint["VpcEndpointType"],
            "route_table_ids": endpoint.get("RouteTableIds") or [],
            "vpc_endpoint_subnets": endpoint.get("SubnetIds") or [],
            "vpc_endpoint_security_groups": [
                group if isinstance(group, str) else group["GroupId"] for group in endpoint.get("Groups") or ()
            ],
            "tags": tags,
        }
        attributes = {"id": endpoint["VpcEndpointId"], "state": str(endpoint.get("State", "available")).lower()}
        yield Found(tags["Name"], settings, attributes, tags)


_ENDPOINT_PLACES = frozenset({"route_table_ids", "vpc_endpoint_subnets", "vpc_endpoint_security_groups"})

VPC_ENDPOINT = ResourceType(
    name_argument=None,
    module="amazon.aws.ec2_vpc_endpoint",
    absent={"DescribeVpcEndpoints": {"VpcEndpoints": []}},
    service="ec2",
    title="VPC endpoint",
    read=_read_endpoints,
    compared=frozenset({"vpc_id", "service", "vpc_endpoint_type", "tags"}) | _ENDPOINT_PLACES,
    write_ids=frozenset({"VpcEndpointId", "Resource"}),
    states=States(
        healthy=frozenset({"available"}),
        transitional=frozenset({"pending", "pendingacceptance", "deleting"}),
    ),
    force_new=frozenset({"vpc_id", "service", "vpc_endpoint_type", *_ENDPOINT_PLACES}),
    # It holds no state, and amazon.aws cannot change its subnets, routes or groups.
    replaceable=True,
    unordered=_ENDPOINT_PLACES,
    extra_arguments=lambda arguments, found: {"vpc_endpoint_id": found["attributes"]["id"]} if found else {},
    attributes=lambda result, arguments: {"id": (result.get("result") or {}).get("vpc_endpoint_id")},
    delete_arguments=lambda found: {"vpc_endpoint_id": found["attributes"]["id"], "wait": True},
    destroy_order=60,
)


TYPES = (VPC, SUBNET, INTERNET_GATEWAY, ADDRESS, NAT_GATEWAY, ROUTE_TABLE, VPC_ENDPOINT)
