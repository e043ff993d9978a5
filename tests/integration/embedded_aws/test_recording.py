"""The embedded AWS records what was called, and the fixtures run real playbooks against it."""

from __future__ import annotations

import time
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws, Playbook


@pytest.fixture
def buckets(tmp_path: Path) -> Path:
    play = tmp_path / "play.yml"
    play.write_text(
        """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Make a bucket
      amazon.aws.s3_bucket:
        name: algo-fixture
        endpoint_url: "{{ algo_endpoint_url }}"
        region: us-east-1
"""
    )
    return play


def test_a_playbook_reaches_the_embedded_aws_and_its_calls_are_recorded(
    fresh_aws: Aws, playbook: Playbook, buckets: Path
) -> None:
    first = playbook("-i", "localhost,", "-c", "local", buckets, check=True, env={"ANSIBLE_STDOUT_CALLBACK": "default"})
    assert first.total("changed") == 1
    assert fresh_aws.count(write=True)["s3:CreateBucket"] == 1
    assert [b["Name"] for b in fresh_aws.client("s3").list_buckets()["Buckets"]] == ["algo-fixture"]

    fresh_aws.forget_calls()
    again = playbook("-i", "localhost,", "-c", "local", buckets, check=True, env={"ANSIBLE_STDOUT_CALLBACK": "default"})
    assert again.total("changed") == 0
    assert fresh_aws.calls(write=True) == []
    assert fresh_aws.calls()


def test_a_reset_empties_the_account_and_the_record(aws: Aws) -> None:
    aws.client("s3").create_bucket(Bucket="algo-reset")
    aws.reset()
    assert aws.calls() == []
    assert aws.client("s3").list_buckets()["Buckets"] == []


def test_tags_found_by_resource_are_those_that_moto_finds_by_looking_through_all(fresh_aws: Aws) -> None:
    ec2 = fresh_aws.client("ec2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    ids = []
    for tags in (
        [],
        [{"Key": "Model", "Value": "a"}, {"Key": "Outer", "Value": "0"}],
        [{"Key": "Model", "Value": "b"}],
    ):
        specification = [{"ResourceType": "instance", "Tags": tags}] if tags else []
        made = ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet, TagSpecifications=specification
        )
        ids.append(made["Instances"][0]["InstanceId"])
    ec2.delete_tags(Resources=[ids[2]], Tags=[{"Key": "Model"}])
    reservations = ec2.describe_instances(InstanceIds=ids)["Reservations"]
    found = {item["InstanceId"]: item.get("Tags", []) for entry in reservations for item in entry["Instances"]}
    for number, count in zip(ids, (0, 2, 0), strict=True):
        filters = [{"Name": "resource-id", "Values": [number]}]
        listed = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in ec2.describe_tags(Filters=filters)["Tags"]]
        assert found[number] == listed
        assert len(listed) == count
    matching = ec2.describe_instances(Filters=[{"Name": "tag:Model", "Values": ["a"]}])["Reservations"]
    assert [item["InstanceId"] for entry in matching for item in entry["Instances"]] == [ids[1]]


def test_a_bucket_of_another_account_is_not_what_was_expected(fresh_aws: Aws) -> None:
    s3 = fresh_aws.client("s3")
    s3.create_bucket(Bucket="ours")
    s3.put_object(Bucket="ours", Key="models/x", Body=b"x", ExpectedBucketOwner="123456789012")
    asked: list[tuple[Any, dict[str, Any]]] = [
        (s3.head_bucket, {}),
        (s3.list_objects_v2, {}),
        (s3.get_object, {"Key": "models/x"}),
    ]
    for ask, more in asked:
        ask(Bucket="ours", ExpectedBucketOwner="123456789012", **more)
        with pytest.raises(ClientError) as refused:
            ask(Bucket="ours", ExpectedBucketOwner="999999999999", **more)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_hosted_zone_with_a_vpc_is_private(fresh_aws: Aws) -> None:
    route53 = fresh_aws.client("route53")
    vpc = fresh_aws.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    with_vpc = {"VPC": {"VPCRegion": "us-east-1", "VPCId": vpc}}
    for name, more, private in (("plain.internal", {}, False), ("own.internal", with_vpc, True)):
        made = route53.create_hosted_zone(Name=name, CallerReference=name, **more)
        found = route53.get_hosted_zone(Id=made["HostedZone"]["Id"])
        assert found["HostedZone"]["Config"]["PrivateZone"] is private
        assert [each["VPCId"] for each in found.get("VPCs", [])] == ([vpc] if private else [])


def test_operations_are_named_for_every_protocol(fresh_aws: Aws) -> None:
    s3 = fresh_aws.client("s3")
    s3.create_bucket(Bucket="algo-names")
    s3.put_bucket_versioning(Bucket="algo-names", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="algo-names", Key="models/a b", Body=b"x")
    s3.copy_object(Bucket="algo-names", Key="copy", CopySource="algo-names/models/a b")
    s3.list_objects_v2(Bucket="algo-names")
    fresh_aws.client("ec2").describe_vpcs()
    fresh_aws.client("cloudwatch").describe_alarms()
    fresh_aws.client("scheduler").create_schedule_group(Name="algo")
    fresh_aws.client("resourcegroupstaggingapi").get_resources()
    assert dict(fresh_aws.count(write=True)) == {
        "s3:CreateBucket": 1,
        "s3:PutBucketVersioning": 1,
        "s3:PutObject": 1,
        "s3:CopyObject": 1,
        "scheduler:CreateScheduleGroup": 1,
    }
    assert set(fresh_aws.count(write=False)) == {
        "s3:ListObjectsV2",
        "ec2:DescribeVpcs",
        "cloudwatch:DescribeAlarms",
        "resourcegroupstaggingapi:GetResources",
    }


def test_a_dry_run_is_no_write(fresh_aws: Aws) -> None:
    ec2 = fresh_aws.client("ec2")
    with pytest.raises(Exception, match="DryRunOperation"):
        ec2.run_instances(ImageId="ami-03cf127a", MinCount=1, MaxCount=1, DryRun=True)
    assert fresh_aws.calls(write=True) == []


def test_calls_can_take_as_long_as_on_aws(aws: Aws) -> None:
    s3 = aws.client("s3")
    aws.answer_after(0.2)
    try:
        began = time.monotonic()
        s3.list_buckets()
        # No sleep ends early, however busy the machine is.
        assert time.monotonic() - began >= 0.2
        with pytest.raises(urllib.error.HTTPError, match="400"):
            aws.answer_after(-1)
    finally:
        aws.release()
    assert aws.latency() == 0
