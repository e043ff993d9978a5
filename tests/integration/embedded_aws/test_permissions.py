"""Calls with a role's credentials are measured by its policies, and refused as each service refuses."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from ansible_collections.algo.trading.tests.integration.embedded_aws.conftest import ACCOUNT, Cloud, until
from botocore.config import Config
from botocore.exceptions import ClientError


class Actor:
    """Clients with the credentials of a role."""

    def __init__(self, cloud: Cloud, role_arn: str, seconds: int = 3600) -> None:
        self._cloud = cloud
        # Without boto3's validation, which allows no session as short as a test needs.
        session: Any = boto3.session.Session()
        sts = session.client(
            "sts",
            region_name=cloud.aws.region,
            endpoint_url=cloud.aws.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(proxies={}, parameter_validation=False),
        )
        made = sts.assume_role(RoleArn=role_arn, RoleSessionName="test", DurationSeconds=seconds)
        self._credentials = made["Credentials"]

    def __call__(self, service: str) -> Any:
        session: Any = boto3.session.Session()
        return session.client(
            service,
            region_name=self._cloud.aws.region,
            endpoint_url=self._cloud.aws.endpoint,
            aws_access_key_id=self._credentials["AccessKeyId"],
            aws_secret_access_key=self._credentials["SecretAccessKey"],
            aws_session_token=self._credentials["SessionToken"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )


def refused(code: str, call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    assert error.value.response["Error"]["Code"] == code
    return str(error.value)


def launch(cloud: Cloud, **tags: str) -> str:
    ec2 = cloud.aws.client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    given = [{"Key": name, "Value": value} for name, value in tags.items()]
    made = ec2.run_instances(
        ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": given}]
    )
    return str(made["Instances"][0]["InstanceId"])


def test_tags_decide_which_instances_may_be_stopped(cloud: Cloud) -> None:
    own, other = launch(cloud, Environment="qa"), launch(cloud, Environment="prod")
    condition = {"StringEquals": {"aws:ResourceTag/Environment": "qa"}}
    arn = cloud.role(
        "stopper",
        {"Effect": "Allow", "Action": "ec2:StopInstances", "Resource": "*", "Condition": condition},
    )
    ec2 = Actor(cloud, arn)("ec2")
    ec2.stop_instances(InstanceIds=[own])
    message = refused("UnauthorizedOperation", ec2.stop_instances, InstanceIds=[own, other])
    assert f"instance/{other}" in message
    refused("UnauthorizedOperation", ec2.describe_instances)
    cloud.aws.client("ec2").create_tags(Resources=[other], Tags=[{"Key": "Environment", "Value": "qa"}])
    ec2.stop_instances(InstanceIds=[other])


def test_a_launch_needs_its_tags_its_profile_and_the_role_that_it_passes(cloud: Cloud) -> None:
    iam, ec2 = cloud.aws.client("iam"), cloud.aws.client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    host = cloud.role("host", service="ec2")
    iam.create_instance_profile(InstanceProfileName="host")
    iam.add_role_to_instance_profile(InstanceProfileName="host", RoleName="host")
    tags = {"StringEquals": {"aws:RequestTag/Environment": "qa"}}
    run = {"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*"}
    tag = {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": tags}
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": host}
    arn = cloud.role("launcher", run, tag, passing)
    actor = Actor(cloud, arn)("ec2")

    def request(**more: Any) -> dict[str, Any]:
        specification = {"ResourceType": "instance", "Tags": [{"Key": "Environment", "Value": more.pop("tag", "qa")}]}
        profile = {"Name": "host"}
        given = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "IamInstanceProfile": profile}
        return {**given, "TagSpecifications": [specification], **more}

    assert actor.run_instances(**request())["Instances"]
    assert "ec2:CreateTags" in refused("UnauthorizedOperation", actor.run_instances, **request(tag="prod"))
    cloud.allow("launcher", run, tag)
    assert "iam:PassRole" in refused("UnauthorizedOperation", actor.run_instances, **request())
    tokens = {"StringEquals": {"ec2:MetadataHttpTokens": "required"}}
    instance = {**run, "Resource": f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/*", "Condition": tokens}
    rest = {"Effect": "Allow", "Action": "ec2:RunInstances", "NotResource": instance["Resource"]}
    cloud.allow("launcher", instance, rest, tag, passing)
    refused("UnauthorizedOperation", actor.run_instances, **request())
    assert actor.run_instances(**request(MetadataOptions={"HttpTokens": "required"}))["Instances"]


def test_each_service_refuses_in_its_own_words(cloud: Cloud) -> None:
    s3, sqs, sns = cloud.aws.client("s3"), cloud.aws.client("sqs"), cloud.aws.client("sns")
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="models/a", Body=b"a")
    url = sqs.create_queue(QueueName="queue")["QueueUrl"]
    topic = sns.create_topic(Name="topic")["TopicArn"]
    cloud.aws.client("ssm").put_parameter(Name="/algo/qa/halt", Value="false", Type="String")
    cloud.aws.client("secretsmanager").create_secret(Name="keys", SecretString="{}")
    arn = cloud.role("nobody", {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"})
    act = Actor(cloud, arn)
    refused("AccessDenied", act("s3").get_object, Bucket="models", Key="models/a")
    refused("AccessDenied", act("s3").list_objects_v2, Bucket="models")
    refused("AccessDeniedException", act("ssm").get_parameter, Name="/algo/qa/halt")
    refused("AccessDeniedException", act("secretsmanager").get_secret_value, SecretId="keys")
    refused("AccessDenied", act("iam").get_role, RoleName="nobody")
    with pytest.raises(ClientError, match="AccessDenied"):
        act("sqs").send_message(QueueUrl=url, MessageBody="x")
    with pytest.raises(ClientError, match=r"AccessDenied|AuthorizationError"):
        act("sns").publish(TopicArn=topic, Message="x")
    assert act("sts").get_caller_identity()["Arn"].startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/nobody/")


@pytest.mark.parametrize(
    ("action", "resource", "service", "operation", "arguments"),
    [
        ("ssm:GetParameter", "arn:aws:ssm:*:*:parameter/algo/qa/*", "ssm", "get_parameter", {"Name": "/algo/{}/halt"}),
        ("s3:GetObject", "arn:aws:s3:::algo-qa/*", "s3", "get_object", {"Bucket": "algo-{}", "Key": "a"}),
        ("s3:ListBucket", "arn:aws:s3:::algo-qa", "s3", "list_objects_v2", {"Bucket": "algo-{}"}),
        (
            "secretsmanager:GetSecretValue",
            "arn:aws:secretsmanager:*:*:secret:algo-qa-*",
            "secretsmanager",
            "get_secret_value",
            {"SecretId": "algo-{}"},
        ),
        ("sns:Publish", "arn:aws:sns:*:*:algo-qa", "sns", "publish", {"TopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:algo-{{}}", "Message": "x"}),  # noqa: E501 - an ARN
    ],
)  # fmt: skip
def test_the_resource_of_a_call_is_known(
    cloud: Cloud, action: str, resource: str, service: str, operation: str, arguments: dict[str, str]
) -> None:
    for environment in ("qa", "prod"):
        cloud.aws.client("s3").create_bucket(Bucket=f"algo-{environment}")
        cloud.aws.client("s3").put_object(Bucket=f"algo-{environment}", Key="a", Body=b"a")
        cloud.aws.client("ssm").put_parameter(Name=f"/algo/{environment}/halt", Value="false", Type="String")
        cloud.aws.client("secretsmanager").create_secret(Name=f"algo-{environment}", SecretString="{}")
        cloud.aws.client("sns").create_topic(Name=f"algo-{environment}")
    arn = cloud.role("reader", {"Effect": "Allow", "Action": action, "Resource": resource})
    call = getattr(Actor(cloud, arn)(service), operation)
    call(**{name: value.format("qa") for name, value in arguments.items()})
    with pytest.raises(ClientError, match=action):
        call(**{name: value.format("prod") for name, value in arguments.items()})


def test_a_boundary_bounds(cloud: Cloud) -> None:
    iam = cloud.aws.client("iam")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    arn = cloud.role("bounded", {"Effect": "Allow", "Action": "*", "Resource": "*"})
    iam.put_role_permissions_boundary(RoleName="bounded", PermissionsBoundary=boundary)
    act = Actor(cloud, arn)
    act("ec2").describe_instances()
    refused("AccessDenied", act("s3").list_buckets)
    # The same document as a managed policy gives what it bounded above.
    managed = Actor(cloud, cloud.role("managed"))
    refused("UnauthorizedOperation", managed("ec2").describe_instances)
    iam.attach_role_policy(RoleName="managed", PolicyArn=boundary)
    managed("ec2").describe_instances()


def test_a_report_names_what_was_refused_and_what_nobody_needed(cloud: Cloud) -> None:
    needed = {"Sid": "Needed", "Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
    spare = {"Sid": "Spare", "Effect": "Allow", "Action": "ec2:DescribeVolumes", "Resource": "*"}
    arn = cloud.role("reported", needed, spare)
    cloud.role("silent", needed)
    cloud.control("permissions", "DELETE")
    act = Actor(cloud, arn)
    act("ec2").describe_instances()
    refused("AccessDenied", act("s3").list_buckets)
    report = cloud.control("permissions")
    assert report["unneeded"] == [{"role": arn, "policy": "own", "statement": "Spare"}]
    assert [(item["role"], item["action"]) for item in report["refused"]] == [(arn, "s3:ListBuckets")]
    assert report["roles_without_calls"] == [f"arn:aws:iam::{ACCOUNT}:role/silent"]


def test_the_operator_may_do_anything_until_a_role_stands_for_him(cloud: Cloud) -> None:
    arn = cloud.role("operator", {"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"})
    ec2, s3 = cloud.aws.client("ec2"), cloud.aws.client("s3")
    s3.create_bucket(Bucket="before")
    cloud.control("permissions", "PUT", operator=arn)
    ec2.describe_instances()
    refused("AccessDenied", s3.create_bucket, Bucket="after")
    cloud.control("permissions", "PUT", operator="")
    s3.create_bucket(Bucket="after")


def test_credentials_whose_time_is_over_are_refused_by_every_service(cloud: Cloud) -> None:
    late = Actor(cloud, cloud.role("late", {"Effect": "Allow", "Action": "*", "Resource": "*"}), seconds=1)

    def outcome(call: Any, **given: Any) -> str:
        try:
            call(**given)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    assert until(lambda: outcome(late("s3").list_buckets)) == "ExpiredToken"
    assert outcome(late("ec2").describe_instances) == "RequestExpired"
    assert outcome(late("ssm").get_parameter, Name="x") == "ExpiredTokenException"
    assert outcome(late("sts").get_caller_identity) == "ExpiredToken"
