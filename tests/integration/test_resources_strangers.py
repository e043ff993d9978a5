"""What belongs to others: never changed by a filter alone, taken over only by name, and never replaced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._aws import Clients, Reading
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.network import INTERNET_GATEWAY
from ansible_collections.algo.trading.plugins.module_utils.resources.storage import BUCKET
from ansible_collections.algo.trading.tests.integration.components import SCOPE, Roles, lines, one, reasons
from ansible_collections.algo.trading.tests.integration.components.proxy import Proxy, without_filters

if TYPE_CHECKING:
    from conftest import Aws, Playbook

HOST = SCOPE.name("alpaca_websocket")
WANTED: dict[str, Any] = {
    "aws_host_component": "alpaca_websocket",
    "aws_host_state": "present",
    "aws_host_instance_types": ["t4g.small"],
}


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    return Roles(fresh_aws, playbook, tmp_path)


def launch(roles: Roles, name: str, count: int = 1, **tags: str) -> list[str]:
    named = {"Name": name, "Project": "algo-trading", "Environment": "qa", **tags}
    answer = roles.aws.client("ec2").run_instances(
        ImageId=roles.variables["images"]["host"],
        InstanceType="t3.large",
        MinCount=count,
        MaxCount=count,
        SubnetId=roles.network["private_subnet_ids"][0],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in named.items()]}
        ],
    )
    return [instance["InstanceId"] for instance in answer["Instances"]]


def alive(aws: Aws) -> dict[str, str]:
    """Instances that are not terminated, by id, with their names."""
    return {
        instance["InstanceId"]: next((tag["Value"] for tag in instance.get("Tags", []) if tag["Key"] == "Name"), "")
        for reservation in aws.client("ec2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] not in {"terminated", "shutting-down"}
    }


def test_an_endpoint_that_ignores_filters_ends_nobody_elses_instances(roles: Roles) -> None:
    aws = roles.aws
    servers = launch(roles, "a-server", 12, Component="trading_server", ManagedBy="algo.trading")
    roles("aws_host", **WANTED)
    before = alive(aws)
    assert len(before) == 13

    with Proxy(aws.endpoint, change=without_filters) as deaf:
        # The reading sees one host, not thirteen; its replacement is refused before anything is ended.
        assert lines(roles("aws_host", **WANTED, endpoint=deaf.endpoint, check=True)) == []
        refused = roles("aws_host", **WANTED, aws_host_volume_size=64, endpoint=deaf.endpoint, fails=True)
        removal = one("amazon.aws.ec2_instance", HOST, component="x", state="absent")
        removed = roles(tasks=[removal], endpoint=deaf.endpoint, fails=True)
    for run in (refused, removed):
        assert run.rc != 0
        assert "was called for instance-id" in " ".join(run.output.split())
    assert alive(aws) == before

    # With an endpoint that applies filters, only the host is replaced.
    roles("aws_host", **WANTED, aws_host_volume_size=64)
    after = alive(aws)
    assert set(servers) < after.keys()
    assert len(after) == 13
    assert after.keys() != before.keys()


def test_an_adopted_host_is_neither_replaced_nor_doubled(roles: Roles) -> None:
    (theirs,) = launch(roles, HOST, Component="alpaca_websocket", ManagedBy="terraform")
    assert roles("aws_host", **WANTED, fails=True).rc != 0

    adopted = {**WANTED, "algo_adopt": [HOST]}
    planned = roles("aws_host", **adopted, check=True)
    assert lines(planned)[0] == ("update", "instance", HOST)
    assert "ManagedBy: terraform → algo.trading" in reasons(planned)
    for name in ("instance_type: t3.large → t4g.small", "user_data"):
        assert name in reasons(planned)
    assert "requires a new instance; not changed while algo_adopt names it" in reasons(planned)

    assert lines(roles("aws_host", **adopted)) == lines(planned)
    assert list(alive(roles.aws)) == [theirs]
    assert lines(roles("aws_host", **adopted)) == []
    # Taken out of algo_adopt, it is a host like any other.
    assert lines(roles("aws_host", **WANTED, check=True))[0] == ("replace", "instance", HOST)


def test_an_unnamed_nat_gateway_of_somebody_elses_stays_theirs(roles: Roles) -> None:
    ec2 = roles.aws.client("ec2")
    subnet = roles.network["private_subnet_ids"][0]
    allocations = [ec2.allocate_address(Domain="vpc")["AllocationId"] for _number in range(2)]
    theirs = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=allocations[0])["NatGateway"]["NatGatewayId"]
    settings = {"subnet_id": subnet, "allocation_id": allocations[1], "wait": True}
    name = SCOPE.name("network", "0")
    gateway = one("amazon.aws.ec2_vpc_nat_gateway", name, component="network", settings=settings)
    made = roles(tasks=[gateway])
    assert [line[0] for line in lines(made)] == ["create"]
    found = {nat["NatGatewayId"]: nat.get("Tags", []) for nat in ec2.describe_nat_gateways()["NatGateways"]}
    assert len(found) == 2
    assert found[theirs] == []
    again = roles(tasks=[gateway])
    assert (lines(again), reasons(again)) == ([], "")


def test_an_internet_gateway_without_our_tags_at_our_vpc_is_refused_in_the_plan(fresh_aws: Aws) -> None:
    ec2 = fresh_aws.client("ec2")
    clients, name = Clients(fresh_aws.client), SCOPE.name("network")
    tags = [{"Key": key, "Value": value} for key, value in SCOPE.tags("network").items()]
    tags.append({"Key": "Name", "Value": name})

    def vpc(cidr: str, tagged: bool) -> str:
        specification = [{"ResourceType": "vpc", "Tags": tags}] if tagged else []
        made: str = ec2.create_vpc(CidrBlock=cidr, TagSpecifications=specification)["Vpc"]["VpcId"]
        return made

    def gateway(vpc_id: str) -> str:
        made: str = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=made, VpcId=vpc_id)
        return made

    ours, theirs = vpc("10.1.0.0/16", tagged=True), vpc("10.2.0.0/16", tagged=False)
    gateway(theirs)
    assert not list(INTERNET_GATEWAY.read(clients, SCOPE))
    id_ = gateway(ours)
    [found] = INTERNET_GATEWAY.read(clients, SCOPE)
    wanted = {"vpc_id": ours, "tags": {"Name": name}}
    decision = decide(INTERNET_GATEWAY, wanted, found.as_dict(ours=False))
    assert decision.action == "refuse"
    assert decision.reasons == (f"exists, but {id_} is attached to {ours} without this environment's tags",)
    assert decide(INTERNET_GATEWAY, wanted, found.as_dict(ours=False), adopt=True).action == "update"
    ec2.create_tags(Resources=[id_], Tags=tags)
    [found] = INTERNET_GATEWAY.read(clients, SCOPE)
    assert not found.note


def test_a_bucket_of_another_account_with_our_tags_is_not_ours(fresh_aws: Aws) -> None:
    def in_another_account(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-moto-account-id"] = "999999999999"

    s3 = fresh_aws.client("s3")
    s3.meta.events.register("before-call.s3", in_another_account)
    tags = [{"Key": key, "Value": value} for key, value in SCOPE.tags("trading_server").items()]
    fresh_aws.client("s3").create_bucket(Bucket="our-models")
    for bucket in ("our-models", "their-models"):
        if bucket == "their-models":
            s3.create_bucket(Bucket=bucket)
        owner = s3 if bucket == "their-models" else fresh_aws.client("s3")
        owner.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    scope = replace(SCOPE, buckets=("our-models", "their-models"))
    found = {item.key: item for item in BUCKET.read(Reading(Clients(fresh_aws.client)), scope)}
    assert (found["our-models"].note, found["their-models"].note) == ("", "it belongs to another account")
    assert scope.owns(found["our-models"].tags or {})
    assert not scope.owns(found["their-models"].tags or {})


def test_an_adopted_buckets_rules_are_adopted_with_it_and_its_settings_are_compared(roles: Roles) -> None:
    s3 = roles.aws.client("s3")
    bucket = "algo-model-deploy"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "ManagedBy", "Value": "terraform"}]})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ID": "housekeeping", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    wanted = {"aws_bucket_name": bucket, "aws_bucket_component": "trading_server", "algo_adopt": [bucket]}
    planned = roles("aws_bucket", **wanted, check=True)
    assert [line[:2] for line in lines(planned)] == [("update", "S3 bucket"), ("update", "life-cycle rule")]
    assert "versioning" not in reasons(planned)
    assert lines(roles("aws_bucket", **wanted)) == lines(planned)
    assert lines(roles("aws_bucket", **wanted)) == []


def test_what_comes_into_being_after_the_reading_is_not_taken_over(roles: Roles) -> None:
    """A module does not look again for what the run has just found absent. AWS then refuses to make it twice."""
    trust = {"Version": "2012-10-17", "Statement": []}
    connection = {
        "region": "{{ algo_aws_connection.region }}",
        "endpoint_url": "{{ algo_aws_connection.endpoint_url }}",
    }
    by_hand: list[dict[str, Any]] = [
        {"amazon.aws.iam_role": {"name": "late", "assume_role_policy_document": trust, **connection}},
        {"amazon.aws.cloudwatchlogs_log_group": {"log_group_name": "late", **connection}},
        {
            "amazon.aws.ec2_security_group": {
                "name": "late",
                "description": "Theirs",
                "vpc_id": roles.network["vpc_id"],
                **connection,
            }
        },
    ]
    wanted: list[dict[str, Any]] = [
        {"module": "amazon.aws.iam_role", "settings": {"assume_role_policy_document": trust}},
        {"module": "amazon.aws.cloudwatchlogs_log_group", "settings": {"retention": 7}},
        {
            "module": "amazon.aws.ec2_security_group",
            "settings": {"description": "Ours", "vpc_id": roles.network["vpc_id"]},
        },
    ]
    ours = {
        "algo.trading.resources": {"component": "network", "resources": [{"name": "late", **kind} for kind in wanted]}
    }
    output = roles(tasks=[*by_hand, ours], fails=True).output
    for title in ("IAM role late", "log group late", "security group late"):
        assert f"{title}: " in output, output

    aws = roles.aws
    assert "Tags" not in aws.client("iam").get_role(RoleName="late")["Role"]
    [group] = aws.client("logs").describe_log_groups(logGroupNamePrefix="late")["logGroups"]
    assert "retentionInDays" not in group
    found = aws.client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["late"]}])
    assert [(group["Description"], group.get("Tags", [])) for group in found["SecurityGroups"]] == [("Theirs", [])]
