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
    refused("AccessDenied", act("route53").list_hosted_zones)
    refused("AccessDeniedException", act("scheduler").get_schedule, Name="start")
    refused("AccessDeniedException", act("lambda").get_function, FunctionName="start")
    for service, call in (("cloudwatch", "describe_alarms"), ("resourcegroupstaggingapi", "get_resources")):
        assert "is not authorized to perform" in refused("AccessDeniedException", getattr(act(service), call))
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
        ("iam:GetRole", "arn:aws:iam::*:role/algo-qa", "iam", "get_role", {"RoleName": "algo-{}"}),
        ("logs:CreateLogGroup", "arn:aws:logs:*:*:log-group:/algo/qa*", "logs", "create_log_group", {"logGroupName": "/algo/{}"}),  # noqa: E501 - an ARN
        ("cloudwatch:DeleteAlarms", "arn:aws:cloudwatch:*:*:alarm:algo-qa", "cloudwatch", "delete_alarms", {"AlarmNames": ["algo-{}"]}),  # noqa: E501 - an ARN
        ("scheduler:CreateScheduleGroup", "arn:aws:scheduler:*:*:schedule-group/algo-qa", "scheduler", "create_schedule_group", {"Name": "algo-{}"}),  # noqa: E501 - an ARN
        ("s3:GetLifecycleConfiguration", "arn:aws:s3:::algo-qa", "s3", "get_bucket_lifecycle_configuration", {"Bucket": "algo-{}"}),  # noqa: E501 - an ARN
        ("sqs:CreateQueue", "arn:aws:sqs:*:*:algo-qa", "sqs", "create_queue", {"QueueName": "algo-{}"}),
        ("ssm:DescribeDocument", "arn:aws:ssm:*:*:document/algo-qa", "ssm", "describe_document", {"Name": "algo-{}"}),
        ("sns:Publish", "arn:aws:sns:*:*:algo-qa", "sns", "publish", {"TopicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:algo-{{}}", "Message": "x"}),  # noqa: E501 - an ARN
    ],
)  # fmt: skip
def test_the_resource_of_a_call_is_known(
    cloud: Cloud, action: str, resource: str, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    for environment in ("qa", "prod"):
        name = f"algo-{environment}"
        cloud.aws.client("s3").create_bucket(Bucket=name)
        cloud.aws.client("s3").put_object(Bucket=name, Key="a", Body=b"a")
        rule = {"ID": "own", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
        cloud.aws.client("s3").put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})
        cloud.aws.client("ssm").put_parameter(Name=f"/algo/{environment}/halt", Value="false", Type="String")
        step = {"action": "aws:runShellScript", "name": "one", "inputs": {"runCommand": ["true"]}}
        content = json.dumps({"schemaVersion": "2.2", "mainSteps": [step]})
        cloud.aws.client("ssm").create_document(Name=name, DocumentType="Command", Content=content)
        cloud.aws.client("secretsmanager").create_secret(Name=name, SecretString="{}")
        cloud.aws.client("sns").create_topic(Name=name)
        cloud.role(name)
    arn = cloud.role("reader", {"Effect": "Allow", "Action": action, "Resource": resource})
    call = getattr(Actor(cloud, arn)(service), operation)
    text = json.dumps(arguments)
    call(**json.loads(text.replace("{}", "qa")))
    with pytest.raises(ClientError, match=action):
        call(**json.loads(text.replace("{}", "prod")))


def test_each_key_of_the_tags_that_are_given_is_looked_at(cloud: Cloud) -> None:
    instance = launch(cloud, Environment="qa")
    only = {"ForAllValues:StringEquals": {"aws:TagKeys": ["Note", "Drained"]}}
    arn = cloud.role("noting", {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": only})
    ec2 = Actor(cloud, arn)("ec2")
    ec2.create_tags(Resources=[instance], Tags=[{"Key": key, "Value": "x"} for key in ("Note", "Drained")])
    tags = [{"Key": key, "Value": "x"} for key in ("Note", "Environment")]
    refused("UnauthorizedOperation", ec2.create_tags, Resources=[instance], Tags=tags)


def test_the_namespace_of_a_metric_decides(cloud: Cloud) -> None:
    only = {"StringEquals": {"cloudwatch:namespace": "algo-trading"}}
    allow = {"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*", "Condition": only}
    metrics = Actor(cloud, cloud.role("measuring", allow))("cloudwatch")
    data = [{"MetricName": "orders", "Value": 1.0}]
    metrics.put_metric_data(Namespace="algo-trading", MetricData=data)
    refused("AccessDeniedException", metrics.put_metric_data, Namespace="AWS/EC2", MetricData=data)


def test_making_needs_the_tags_and_the_passed_role_too(cloud: Cloud) -> None:
    host = cloud.role("host", service="lambda")
    make = {"Effect": "Allow", "Action": ["ec2:CreateVpc", "scheduler:CreateScheduleGroup"], "Resource": "*"}
    arn = cloud.role("maker", make)
    act = Actor(cloud, arn)
    tags = [{"Key": "Project", "Value": "algo"}]
    assert "scheduler:TagResource" in refused(
        "AccessDeniedException", act("scheduler").create_schedule_group, Name="x", Tags=tags
    )
    vpc = {"CidrBlock": "10.0.0.0/16", "TagSpecifications": [{"ResourceType": "vpc", "Tags": tags}]}
    assert "ec2:CreateTags" in refused("UnauthorizedOperation", act("ec2").create_vpc, **vpc)
    own = {"StringEquals": {"aws:RequestTag/Project": "algo"}}
    cloud.allow("maker", make, {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": own})
    made = act("ec2").create_vpc(**vpc)["Vpc"]["VpcId"]
    tagged = {"StringEquals": {"aws:ResourceTag/Project": "algo"}}
    cloud.allow("maker", {"Effect": "Allow", "Action": "ec2:DeleteVpc", "Resource": "*", "Condition": tagged})
    foreign = cloud.aws.client("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    assert f"vpc/{foreign}" in refused("UnauthorizedOperation", act("ec2").delete_vpc, VpcId=foreign)
    act("ec2").delete_vpc(VpcId=made)
    cloud.allow("maker", {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"})
    function = {"FunctionName": "x", "Runtime": "python3.13", "Handler": "x.y", "Role": host, "Code": {"ZipFile": b"x"}}
    assert "iam:PassRole" in refused("AccessDeniedException", act("lambda").create_function, **function)


def test_a_boundary_bounds(cloud: Cloud) -> None:
    iam = cloud.aws.client("iam")
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}]}
    boundary = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    arn = cloud.role("bounded", {"Effect": "Allow", "Action": "*", "Resource": "*"})
    iam.put_role_permissions_boundary(RoleName="bounded", PermissionsBoundary=boundary)
    act = Actor(cloud, arn)
    act("ec2").describe_instances()
    message = refused("AccessDenied", act("s3").list_buckets)
    assert "because no permissions boundary allows the s3:ListAllMyBuckets action" in message
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
    assert [(item["role"], item["action"]) for item in report["refused"]] == [(arn, "s3:ListAllMyBuckets")]
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
