"""Functions, roles and queues in the embedded AWS, and its clock."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws

ACCOUNT = "123456789012"
LOGS = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": "*"}


class Cloud:
    """One emptied account."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws

    def role(self, name: str, *statements: dict[str, Any], service: str = "lambda") -> str:
        """Make a role with one policy; returns its ARN."""
        iam = self.aws.client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
        if statements:
            self.allow(name, *statements)
        return str(made["Role"]["Arn"])

    def allow(self, role: str, *statements: dict[str, Any]) -> None:
        """Replace the role's policy; without statements it may do nothing."""
        if not statements:
            self.aws.client("iam").delete_role_policy(RoleName=role, PolicyName="own")
            return
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        self.aws.client("iam").put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=json.dumps(document))

    def function(self, name: str, code: str, *statements: dict[str, Any], **settings: Any) -> None:
        """Deploy a function whose role may write its log and what the statements say."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("index.py", code)
        role = self.role(f"{name}-role", LOGS, *statements)
        self.aws.client("logs").create_log_group(logGroupName=f"/aws/lambda/{name}")
        self.aws.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="index.handler",
            Role=role,
            Code={"ZipFile": packed.getvalue()},
            **{"Timeout": 30, "MemorySize": 256, **settings},
        )

    def invoke(self, name: str, event: Any = None, **how: Any) -> dict[str, Any]:
        answer = self.aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event), **how)
        payload = answer["Payload"].read()
        return {**answer, "Payload": json.loads(payload) if payload else None}

    def log(self, name: str) -> list[str]:
        found = self.aws.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
        return [event["message"] for event in found]

    def queue(self, name: str) -> str:
        """Make a queue; returns its ARN."""
        self.aws.client("sqs").create_queue(QueueName=name)
        return f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"

    def messages(self, arn: str) -> list[dict[str, Any]]:
        """Take what is in a queue."""
        sqs = self.aws.client("sqs")
        url = sqs.get_queue_url(QueueName=arn.rsplit(":", 1)[1])["QueueUrl"]
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        messages = list(answer.get("Messages", []))
        for message in messages:  # else they come back after half a minute
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    def schedule(self, name: str, expression: str, target: str, zone: str = "UTC", **more: Any) -> None:
        """Make a schedule whose role may invoke functions and send to queues."""
        role = f"{name}-scheduler"
        may = {"Effect": "Allow", "Action": ["lambda:InvokeFunction", "sqs:SendMessage"], "Resource": "*"}
        arn = self.role(role, may, service="scheduler")
        given = more.pop("Target", {})
        self.aws.client("scheduler").create_schedule(
            Name=name,
            ScheduleExpression=expression,
            ScheduleExpressionTimezone=zone,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": target, "RoleArn": arn, **given},
            **more,
        )

    def control(self, name: str, method: str = "GET", **given: Any) -> Any:
        """Ask the embedded AWS itself."""
        body = json.dumps(given).encode() if given else None
        request = urllib.request.Request(f"{self.aws.endpoint}/_algo/{name}", data=body, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)


def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to be there; returns it."""
    deadline = time.monotonic() + 90
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen within a minute and a half"
        time.sleep(0.1)
    return found


@pytest.fixture
def cloud(fresh_aws: Aws) -> Iterator[Cloud]:
    """An emptied account; emptying it sets the clock to the machine's time."""
    yield Cloud(fresh_aws)
    fresh_aws.reset()
