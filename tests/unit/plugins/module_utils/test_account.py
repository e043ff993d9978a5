"""Facts about account and region. Clients answer from botocore's own stubs, so that calls and shapes are AWS's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

boto3 = pytest.importorskip("boto3", reason="the facts are asked of AWS's own client")
from ansible_collections.algo.trading.plugins.module_utils._aws import Clients, Reading
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.account import (
    account_facts,
    is_embedded,
    leftovers,
    offered_zones,
    resolve_images,
    unknown_instance_types,
)
from botocore.exceptions import ClientError
from botocore.stub import Stubber

SCOPE = Scope("algo-trading", "qa")
IMAGE = {
    "ImageId": "ami-0123456789abcdef0",
    "Name": "debian-12",
    "Architecture": "arm64",
    "RootDeviceName": "/dev/xvda",
    "CreationDate": "2025-01-01T00:00:00.000Z",
}
RESOLVED = {"id": IMAGE["ImageId"], "name": "debian-12", "architecture": "arm64", "root_device_name": "/dev/xvda"}


class Aws:
    """Clients that answer what was agreed, in that order, and nothing else."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._stubs: dict[str, Stubber] = {}
        self.clients = Clients(self._make)

    def _make(self, service: str) -> Any:
        session: Any = boto3.session.Session()
        client = session.client(
            service,
            region_name="us-east-1",
            endpoint_url=self._endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self._stubs[service] = Stubber(client)
        self._stubs[service].activate()
        return client

    def __getitem__(self, service: str) -> Stubber:
        self.clients(service)
        return self._stubs[service]

    def done(self) -> None:
        for stub in self._stubs.values():
            stub.assert_no_pending_responses()


@pytest.fixture
def aws() -> Iterator[Aws]:
    found = Aws()
    yield found
    found.done()


@pytest.fixture
def emulator() -> Iterator[Aws]:
    found = Aws("http://127.0.0.1:1")
    yield found
    found.done()


def test_a_client_is_made_once() -> None:
    made: list[str] = []
    clients = Clients(lambda service: made.append(service) or object())
    assert clients("ec2") is clients("ec2")
    assert clients("ec2") is not clients("ssm")
    assert made == ["ec2", "ssm"]


def test_the_partition_is_the_callers(aws: Aws) -> None:
    arn = "arn:aws-us-gov:sts::123456789012:assumed-role/deploy/awx"
    aws["sts"].add_response("get_caller_identity", {"Account": "123456789012", "Arn": arn, "UserId": "x"})
    assert account_facts(Reading(aws.clients)) == {
        "account_id": "123456789012",
        "caller_arn": arn,
        "partition": "aws-us-gov",
    }


@pytest.mark.parametrize(
    ("endpoint", "embedded"),
    [
        (None, False),
        ("https://vpce-0a1b.sts.us-east-1.vpce.amazonaws.com", False),
        ("https://sts.us-east-1.api.aws", False),
        ("http://127.0.0.1:5000", True),
        ("http://amazonaws.com.example.org", True),
    ],
)
def test_an_emulator_is_known_by_its_address(endpoint: str | None, embedded: bool) -> None:
    assert is_embedded(Aws(endpoint).clients) is embedded


def test_only_plain_zones_are_usable(aws: Aws) -> None:
    zones = [
        {"ZoneName": "us-east-1b", "ZoneType": "availability-zone"},
        {"ZoneName": "us-east-1-bos-1a", "ZoneType": "local-zone"},
        {"ZoneName": "us-east-1a"},
    ]
    aws["ec2"].add_response("describe_availability_zones", {"AvailabilityZones": zones})
    assert offered_zones(aws.clients) == ["us-east-1a", "us-east-1b"]


def test_images_are_found_by_id_and_by_parameter(aws: Aws) -> None:
    aws["ssm"].add_response("get_parameter", {"Parameter": {"Value": IMAGE["ImageId"]}}, {"Name": "/aws/service/x"})
    aws["ec2"].add_response("describe_images", {"Images": [IMAGE]}, {"ImageIds": [IMAGE["ImageId"]]})
    assert resolve_images(aws.clients, {"host": "/aws/service/x", "gpu": IMAGE["ImageId"]}) == {
        "host": RESOLVED,
        "gpu": RESOLVED,
    }


def test_what_does_not_resolve_is_said_in_words(aws: Aws) -> None:
    """AWS refuses a whole list for one image that it does not know, and names it."""
    aws["ssm"].add_client_error("get_parameter", "ParameterNotFound")
    aws["ec2"].add_client_error(
        "describe_images", "InvalidAMIID.NotFound", "The image id '[ami-00000000]' does not exist"
    )
    aws["ec2"].add_response("describe_images", {"Images": [IMAGE]}, {"ImageIds": [IMAGE["ImageId"]]})
    images = {"host": "/aws/service/none", "gone": "ami-00000000", "gpu": IMAGE["ImageId"]}
    assert resolve_images(aws.clients, images) == {
        "host": {"error": "the public SSM parameter /aws/service/none does not exist in this region"},
        "gone": {"error": "image ami-00000000 does not exist in this region or is not shared with this account"},
        "gpu": RESOLVED,
    }


def test_a_refused_question_is_an_error(aws: Aws) -> None:
    aws["ssm"].add_client_error("get_parameter", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        resolve_images(aws.clients, {"host": "/aws/service/x"})


def test_an_emulator_lends_its_amazon_linux_without_listing_all_images(emulator: Aws) -> None:
    emulator["ssm"].add_client_error("get_parameter", "ParameterNotFound")
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    emulator["ssm"].add_response("get_parameter", {"Parameter": {"Value": IMAGE["ImageId"]}}, {"Name": name})
    emulator["ec2"].add_response("describe_images", {"Images": [IMAGE]}, {"ImageIds": [IMAGE["ImageId"]]})
    assert resolve_images(emulator.clients, {"host": "/aws/service/arm64"}) == {
        "host": {**RESOLVED, "stand_in": "/aws/service/arm64"}
    }


def test_an_emulator_lends_its_newest_image_of_the_architecture(emulator: Aws) -> None:
    older = {**IMAGE, "ImageId": "ami-1", "CreationDate": "2020-01-01T00:00:00.000Z"}
    intel = {**IMAGE, "ImageId": "ami-2", "Architecture": "x86_64", "CreationDate": "2026-01-01T00:00:00.000Z"}
    emulator["ssm"].add_client_error("get_parameter", "ParameterNotFound")
    emulator["ssm"].add_client_error("get_parameter", "ParameterNotFound")
    emulator["ec2"].add_response("describe_images", {"Images": [older, IMAGE, intel]})
    assert resolve_images(emulator.clients, {"host": "/aws/service/arm64"}) == {
        "host": {**RESOLVED, "stand_in": "/aws/service/arm64"}
    }


def test_instance_types_that_the_region_does_not_offer(aws: Aws) -> None:
    asked = {
        "LocationType": "region",
        "Filters": [{"Name": "instance-type", "Values": ["t4g.small", "t9z.large"]}],
    }
    offered = {"InstanceTypeOfferings": [{"InstanceType": "t4g.small"}]}
    aws["ec2"].add_response("describe_instance_type_offerings", offered, asked)
    types = ["t9z.large", "t4g.small", "not a type", "t4g.small"]
    assert unknown_instance_types(aws.clients, types) == ["not a type", "t9z.large"]
    assert unknown_instance_types(aws.clients, []) == []


def test_what_is_on_its_way_out_is_not_left(aws: Aws) -> None:
    def arn(rest: str) -> str:
        return f"arn:aws:{rest}"

    ec2 = "ec2:us-east-1:123456789012"
    alive, ended = arn(f"{ec2}:instance/i-1"), arn(f"{ec2}:instance/i-2")
    gateway, vpc = arn(f"{ec2}:natgateway/nat-1"), arn(f"{ec2}:vpc/vpc-1")
    snapshot = arn("rds:us-east-1:123456789012:snapshot:last")
    going, staying = (arn(f"secretsmanager:us-east-1:123456789012:secret:{name}") for name in ("going", "staying"))
    tagged = [alive, ended, gateway, vpc, snapshot, going, staying]
    filters = [
        {"Key": "Project", "Values": ["algo-trading"]},
        {"Key": "Environment", "Values": ["qa"]},
        {"Key": "ManagedBy", "Values": ["algo.trading"]},
    ]
    ours = [{"Key": entry["Key"], "Value": entry["Values"][0]} for entry in filters]
    found = [{"ResourceARN": name, "Tags": ours} for name in tagged]
    # An endpoint that ignores filters gives others' things, too.
    found.append({"ResourceARN": arn(f"{ec2}:vpc/vpc-2"), "Tags": [{"Key": "Project", "Value": "another"}]})
    aws["resourcegroupstaggingapi"].add_response(
        "get_resources", {"ResourceTagMappingList": found}, {"TagFilters": filters}
    )
    states = [("i-1", "running"), ("i-2", "terminated")]
    instances = [{"InstanceId": name, "State": {"Name": state}} for name, state in states]
    aws["ec2"].add_response("describe_instances", {"Reservations": [{"Instances": instances}]})
    aws["ec2"].add_response("describe_nat_gateways", {"NatGateways": []})
    secrets = {going: {"DeletedDate": 1}, staying: {}}
    for name in [name for name in {*tagged} if name in secrets]:
        aws["secretsmanager"].add_response("describe_secret", secrets[name], {"SecretId": name})
    assert leftovers(aws.clients, SCOPE) == {"left": sorted([alive, vpc, staying]), "kept": sorted([snapshot, going])}
