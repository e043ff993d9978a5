"""moto by itself, in this process, where nothing patches it: what fails here is a patch that is no longer needed."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.sqs.models import sqs_backends

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from embedded_aws.moto_patches import PATCHES
from embedded_aws.resources import associated

REASON = "moto now does as AWS does: delete the patch"
CASES: dict[str, Callable[[Any], None]] = {}


def shows(patch: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def note(case: Callable[[Any], None]) -> Callable[[Any], None]:
        CASES[patch] = case
        return case

    return note


@pytest.fixture
def client() -> Iterator[Any]:
    session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
    with mock_aws():
        yield session.client


def test_an_association_stands_for_its_route_table_and_for_its_address(client: Any) -> None:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    (instance,) = launch(ec2, 1)
    for association, owner in (
        (ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"], table),
        (ec2.associate_address(AllocationId=address, InstanceId=instance)["AssociationId"], address),
        (vpc, vpc),
    ):
        assert associated(association, "us-east-1") == owner


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: str(patch.__name__.strip("_")))
def test_the_patch_is_needed(patch: Callable[[], None], client: Any) -> None:
    assert patch.__doc__, "the reason"
    CASES[patch.__name__](client)


def test_moto_by_itself_makes_no_host(client: Any) -> None:
    """What `hosts.moto_instances` connects."""
    ec2 = client("ec2")
    (instance,) = launch(ec2, 1)
    assert (
        ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
    )
    ec2.stop_instances(InstanceIds=[instance])
    assert (
        ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["State"]["Name"] == "stopped"
    )
    image = ec2.create_image(InstanceId=instance, Name="baked")["ImageId"]
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available"


def test_moto_by_itself_runs_no_database(client: Any) -> None:
    """What `hosts.moto_databases` connects."""
    rds = client("rds")
    made = rds.create_db_instance(
        DBInstanceIdentifier="own",
        Engine="postgres",
        DBInstanceClass="db.t4g.micro",
        AllocatedStorage=20,
        MasterUsername="own",
        ManageMasterUserPassword=True,
    )["DBInstance"]
    assert (made["DBInstanceStatus"], made["Endpoint"]["Port"]) == ("available", 5432), "available at once"
    secret = client("secretsmanager").get_secret_value(SecretId=made["MasterUserSecret"]["SecretArn"])["SecretString"]
    rds.create_db_instance(
        DBInstanceIdentifier="other",
        Engine="postgres",
        DBInstanceClass="db.t4g.micro",
        AllocatedStorage=20,
        MasterUsername="own",
        ManageMasterUserPassword=True,
    )
    other = rds.describe_db_instances(DBInstanceIdentifier="other")["DBInstances"][0]["MasterUserSecret"]["SecretArn"]
    second = client("secretsmanager").get_secret_value(SecretId=other)["SecretString"]
    assert json.loads(secret)["password"] == json.loads(second)["password"], REASON
    assert rds.stop_db_instance(DBInstanceIdentifier="own")["DBInstance"]["DBInstanceStatus"] == "stopped"


def launch(ec2: Any, number: int, **more: Any) -> list[str]:
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, MinCount=number, MaxCount=number, **more)
    return [each["InstanceId"] for each in made["Instances"]]


@shows("_take_filters_of_notifications")
def _(client: Any) -> None:
    client("sqs").create_queue(QueueName="told")
    s3 = client("s3")
    s3.create_bucket(Bucket="models")
    rules = [{"Name": "Prefix", "Value": "models/"}, {"Name": "Suffix", "Value": ""}]
    queue = {
        "QueueArn": "arn:aws:sqs:us-east-1:123456789012:told",
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": rules}},
    }
    with pytest.raises(AssertionError):
        s3.put_bucket_notification_configuration(
            Bucket="models", NotificationConfiguration={"QueueConfigurations": [queue]}
        )


@shows("_leave_queues_to_event_sources")
def _(client: Any) -> None:
    arn = "arn:aws:sqs:us-east-1:123456789012:told"
    client("sqs").create_queue(QueueName="told")
    role = client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.py", "")
    given = {"Runtime": "python3.13", "Handler": "a.b", "Role": role, "Code": {"ZipFile": packed.getvalue()}}
    client("lambda").create_function(FunctionName="f", **given)
    client("lambda").create_event_source_mapping(
        FunctionName="f", EventSourceArn=arn, MaximumBatchingWindowInSeconds=60
    )
    queue = sqs_backends["123456789012"]["us-east-1"].queues["told"]
    assert queue.lambda_event_source_mappings, REASON


@shows("_heed_conditions")
def _(client: Any) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="a", Body=b"a")
    condition = {"StringEquals": {"aws:PrincipalTag/Team": "nobody has this tag"}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::models/*"}
    policy = {"Version": "2012-10-17", "Statement": [{**deny, "Condition": condition}]}
    s3.put_bucket_policy(Bucket="models", Policy=json.dumps(policy))
    with pytest.raises(ClientError, match="403"):
        s3.head_object(Bucket="models", Key="a")


@shows("_find_tags_by_resource")
def _(client: Any) -> None:
    from moto.ec2.models import ec2_backends

    ec2 = client("ec2")
    launch(ec2, 2)
    looked: list[Any] = []
    backend = ec2_backends["123456789012"]["us-east-1"]
    through_all = backend.describe_tags
    backend.describe_tags = lambda *given, **more: (looked.append(more), through_all(*given, **more))[1]
    ec2.describe_instances()
    assert len(looked) >= 2, REASON


@shows("_check_bucket_owners")
def _(client: Any) -> None:
    client("s3").create_bucket(Bucket="models")
    client("s3").head_bucket(Bucket="models", ExpectedBucketOwner="999999999999")


@shows("_make_zones_of_a_vpc_private")
def _(client: Any) -> None:
    vpc = {"VPCRegion": "us-east-1", "VPCId": client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]}
    made = client("route53").create_hosted_zone(Name="own.internal", CallerReference="1", VPC=vpc)
    assert made["HostedZone"]["Config"]["PrivateZone"] is False, REASON


@shows("_tag_snapshots_of_images")
def _(client: Any) -> None:
    ec2 = client("ec2")
    (instance,) = launch(ec2, 1)
    tags = [{"ResourceType": kind, "Tags": [{"Key": "Project", "Value": "algo"}]} for kind in ("image", "snapshot")]
    with pytest.raises(NotImplementedError):
        ec2.create_image(InstanceId=instance, Name="baked", TagSpecifications=tags)


def function(client: Any, **more: Any) -> Any:
    role = client("iam").create_role(RoleName="own", AssumeRolePolicyDocument=json.dumps({"Statement": []}))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", "")
    given = {"Runtime": "python3.13", "Handler": "index.handler", "Code": {"ZipFile": packed.getvalue()}, **more}
    return client("lambda").create_function(FunctionName="own", Role=role["Role"]["Arn"], **given)


@shows("_keep_dead_letter_queues")
def _(client: Any) -> None:
    made = function(client, DeadLetterConfig={"TargetArn": "arn:aws:sqs:us-east-1:123456789012:dead"})
    assert "DeadLetterConfig" not in made, REASON


@shows("_replace_event_invoke_configs")
def _(client: Any) -> None:
    function(client)
    for retries in (2, 0):
        client("lambda").put_function_event_invoke_config(FunctionName="own", MaximumRetryAttempts=retries)
    assert client("lambda").get_function_event_invoke_config(FunctionName="own")["MaximumRetryAttempts"] == 2, REASON


@shows("_give_the_profile_to_all_instances")
def _(client: Any) -> None:
    client("iam").create_instance_profile(InstanceProfileName="own")
    launch(client("ec2"), 2, IamInstanceProfile={"Name": "own"})
    found = client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert len(found) == 1, REASON


@shows("_keep_metadata_options")
def _(client: Any) -> None:
    ec2 = client("ec2")
    (instance,) = launch(ec2, 1, MetadataOptions={"HttpTokens": "required"})
    changed = ec2.modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=2)
    assert changed["InstanceMetadataOptions"].get("HttpTokens") != "required", REASON


@shows("_tag_dashboards")
def _(client: Any) -> None:
    cloudwatch = client("cloudwatch")
    given = {"DashboardName": "own", "DashboardBody": '{"widgets": []}'}
    cloudwatch.put_dashboard(**given, Tags=[{"Key": "Project", "Value": "algo"}])
    arn = cloudwatch.get_dashboard(DashboardName="own")["DashboardArn"]
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [], REASON
