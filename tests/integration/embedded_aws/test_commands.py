"""SSM without hosts: what is sent succeeds at once, and what cannot be is refused as AWS refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.tests.integration.embedded_aws.conftest import Cloud
from botocore.exceptions import ClientError


@pytest.fixture
def instances(cloud: Cloud) -> list[str]:
    ec2 = cloud.aws.client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Fleet", "Value": "one"}]}]
    made = ec2.run_instances(ImageId=image, MinCount=2, MaxCount=2, TagSpecifications=tags)
    return [each["InstanceId"] for each in made["Instances"]]


def test_targets_are_found_by_tag_and_all_of_them_have_to_fit(cloud: Cloud, instances: list[str]) -> None:
    ssm = cloud.aws.client("ssm")
    cloud.aws.client("ec2").create_tags(Resources=instances[:1], Tags=[{"Key": "Model", "Value": "m1"}])
    for targets, expected in (
        ([{"Key": "tag:Fleet", "Values": ["one", "two"]}], instances),
        ([{"Key": "tag:Fleet", "Values": ["one"]}, {"Key": "tag-key", "Values": ["Model"]}], instances[:1]),
        ([{"Key": "tag:Fleet", "Values": ["nobody"]}], []),
    ):
        command = ssm.send_command(
            DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}, Targets=targets
        )["Command"]["CommandId"]
        listed = ssm.list_command_invocations(CommandId=command)["CommandInvocations"]
        assert sorted(each["InstanceId"] for each in listed) == sorted(expected)
        assert ssm.list_commands(CommandId=command)["Commands"][0]["Status"] == "Success"


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"MaxConcurrency": "many"}, "ValidationException"),
    ({"MaxErrors": "101%"}, "ValidationException"),
    ({"MaxErrors": "-1"}, "ValidationException"),
    ({"Parameters": {}}, "InvalidParameters"),
    ({"Parameters": {"commands": ["true"], "executionTimeout": ["soon"]}}, "ValidationException"),
    ({"DocumentName": "no-such"}, "InvalidDocument"),
    ({"InstanceIds": ["i-00000000000000000"]}, "InvalidInstanceId"),
    ({"InstanceIds": [f"i-{number:017x}" for number in range(51)]}, "InvalidInstanceId|ValidationException"),
    ({"InstanceIds": []}, "ValidationException"),
)


def test_what_cannot_be_sent_is_refused(cloud: Cloud, instances: list[str]) -> None:
    request = {"DocumentName": "AWS-RunShellScript", "Parameters": {"commands": ["true"]}, "InstanceIds": instances}
    for given, code in WRONG:
        with pytest.raises(ClientError, match=code):
            cloud.aws.client("ssm").send_command(**{**request, **given})


def test_a_page_that_does_not_exist_and_a_command_that_does_not(cloud: Cloud, instances: list[str]) -> None:
    ssm = cloud.aws.client("ssm")
    with pytest.raises(ClientError, match="InvalidCommandId"):
        ssm.get_command_invocation(CommandId="0" * 36, InstanceId=instances[0])
    with pytest.raises(ClientError, match="ValidationException"):
        ssm.list_commands(NextToken="rubbish")


def test_commands_on_an_instance_can_be_made_to_fail_until_that_is_taken_back(
    cloud: Cloud, instances: list[str]
) -> None:
    ssm = cloud.aws.client("ssm")

    def statuses() -> dict[str, str]:
        sent = ssm.send_command(
            DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}, InstanceIds=instances
        )
        listed = ssm.list_command_invocations(CommandId=sent["Command"]["CommandId"], Details=True)
        return {
            each["InstanceId"]: f"{each['Status']} {each['CommandPlugins'][0]['ResponseCode']}"
            for each in listed["CommandInvocations"]
        }

    assert cloud.control("commands", "PUT", fail=instances[:1]) == {"fail": instances[:1]}
    assert statuses() == {instances[0]: "Failed 1", instances[1]: "Success 0"}
    cloud.control("commands", "PUT", fail=[])
    assert set(statuses().values()) == {"Success 0"}
