"""Tags by ARN, and asynchronous invocations, each as a module of its own."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Aws, Tasks

ALARM = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:given-up"


def tag(tags: dict[str, str], **given: Any) -> dict[str, Any]:
    return {"algo.trading.resource_tags": {"arns": [ALARM], "tags": tags, **given}}


def invocation(**given: Any) -> dict[str, Any]:
    return {"algo.trading.lambda_event_invoke_config": {"name": "f", **given}}


def test_an_alarm_is_tagged_and_untagged(fresh_aws: Aws, tasks: Tasks) -> None:
    cloudwatch = fresh_aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(AlarmName="errors", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold")
    fresh_aws.forget_calls()
    [planned] = tasks(tag({"A": "1"}), check=True, diff=True)
    assert planned["changed"]
    assert planned["diff"]["after"] == {ALARM: {"A": "1"}}
    assert fresh_aws.calls(write=True) == []

    made, again, more, purged, other_value, gone = tasks(
        tag({"A": "1"}),
        tag({"A": "1"}),
        tag({"B": "2"}),
        tag({"B": "3"}, purge_tags=True),
        tag({"B": "2"}, state="absent"),
        tag({"B": ""}, state="absent"),
    )
    changed = [step["changed"] for step in (made, again, more, purged, other_value, gone)]
    assert changed == [True, False, True, True, False, True]
    assert more["resources"] == {ALARM: {"A": "1", "B": "2"}}
    assert purged["resources"] == {ALARM: {"B": "3"}}
    assert cloudwatch.list_tags_for_resource(ResourceARN=ALARM)["Tags"] == []

    fresh_aws.forget_calls()
    [new] = tasks(tag({"A": "1"}, purge_tags=True, untagged=True))
    assert new["changed"]
    assert new["resources"] == {ALARM: {"A": "1"}}
    assert fresh_aws.count(service="cloudwatch") == {"cloudwatch:TagResource": 1}


def test_invocations_are_configured_and_reset(fresh_aws: Aws, tasks: Tasks) -> None:
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = fresh_aws.client("iam").create_role(RoleName="f", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("f.py", "")
    code: Any = {"ZipFile": package.getvalue()}
    fresh_aws.client("lambda").create_function(
        FunctionName="f", Role=role, Code=code, Runtime="python3.13", Handler="f.f"
    )
    fresh_aws.forget_calls()
    [planned] = tasks(invocation(on_failure=QUEUE), check=True)
    assert planned["event_invoke_config"]["maximum_retry_attempts"] == 2
    assert fresh_aws.calls(write=True) == []

    made, again, bad, removed, gone = tasks(
        invocation(on_failure=QUEUE, maximum_retry_attempts=0),
        invocation(on_failure=QUEUE),
        invocation(maximum_retry_attempts=3),
        invocation(state="absent"),
        invocation(state="absent"),
    )
    assert [step["changed"] for step in (made, again, removed, gone)] == [True, False, True, False]
    assert again["event_invoke_config"]["maximum_retry_attempts"] == 0
    assert "maximum_retry_attempts must be 0 to 2, not 3" in bad["msg"]
    assert removed["event_invoke_config"] == {}
