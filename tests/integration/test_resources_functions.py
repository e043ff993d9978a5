"""The functions of the trading day and what belongs to them: checked, made, repeated, changed, removed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import load_document
from ansible_collections.algo.trading.tests.integration.components import ACCOUNT, SCOPE, Roles, lines, reasons

if TYPE_CHECKING:
    from conftest import Aws, Playbook, Run

SHUTDOWN = SCOPE.name("trading_server_shutdown")
SERVER = SCOPE.name("trading_server")
ALPACA = SCOPE.name("alpaca_websocket")
DRAIN = f"{SERVER}-drain"
LAMBDA = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function"


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    roles = Roles(fresh_aws, playbook, tmp_path)
    roles.prepare_functions(tmp_path / "build")
    return roles


def tags_of(component: str, name: str) -> dict[str, str]:
    return {
        "Project": "algo-trading",
        "Environment": "qa",
        "Component": component,
        "ManagedBy": "algo.trading",
        "Name": name,
        "Team": "quants",
    }


def actions(run: Run) -> dict[str, str]:
    return {f"{kind} {name}": action for action, kind, name in lines(run)}


def test_the_shutdown_is_planned_made_repeated_changed_and_removed(roles: Roles) -> None:
    aws = roles.aws
    planned = roles("aws_trading_server_shutdown", check=True)
    assert aws.calls(write=True) == []
    made = roles("aws_trading_server_shutdown")
    assert (
        lines(planned)
        == lines(made)
        == [
            ("create", "SNS topic", SHUTDOWN),
            ("create", "SQS queue", SHUTDOWN),
            ("create", "alarm", f"{SHUTDOWN}-left-running"),
            ("create", "alarm", f"{SHUTDOWN}-dead-letters"),
            ("create", "SSM document", DRAIN),
            ("create", "log group", f"/aws/lambda/{SHUTDOWN}"),
            ("create", "Lambda function", SHUTDOWN),
            ("create", "asynchronous invocation", SHUTDOWN),
            ("create", "alarm", f"{SHUTDOWN}-errors"),
            ("create", "alarm", f"{SHUTDOWN}-no-stop"),
            ("create", "schedule group", SHUTDOWN),
            ("create", "schedule", f"{SHUTDOWN}/shutdown-early"),
            ("create", "schedule", f"{SHUTDOWN}/shutdown"),
            ("create", "dashboard", f"{SHUTDOWN}-day"),
        ]
    )
    everything_is_as_it_should_be(aws)

    aws.forget_calls()
    assert lines(roles("aws_trading_server_shutdown")) == []
    assert aws.calls(write=True) == []

    changes: dict[str, Any] = {
        "aws_trading_server_shutdown_schedule": "cron(20 16 ? * * *)",
        "aws_trading_server_shutdown_drain_timeout": 120,
        "aws_trading_server_shutdown_log_retention": 30,
        "algo_alert_emails": ["desk@example.org"],
        "algo_tags": {"Team": "platform"},
    }
    planned = roles("aws_trading_server_shutdown", check=True, **changes)
    assert set(actions(planned).values()) == {"update"}
    for reason in (
        "schedule_expression: cron(10 16 ? * * *) → cron(20 16 ? * * *)",
        "environment_variables.DRAIN_TIMEOUT: 300 → 120",
        "retention: 90 → 30",
        "tags.Team: quants → platform",
        "desk@example.org",
    ):
        assert reason in reasons(planned)
    assert aws.calls(write=True) == []
    assert lines(roles("aws_trading_server_shutdown", **changes)) == lines(planned)
    # Back to a content that the document has had before, which SSM does not take a second time.
    assert lines(roles("aws_trading_server_shutdown")) == lines(planned)
    assert lines(roles("aws_trading_server_shutdown")) == []

    removed = roles(tasks=teardown())
    assert len(lines(removed)) == 14
    assert {action for action, _kind, _name in lines(removed)} == {"delete"}
    assert lines(roles(tasks=teardown())) == []
    assert everything_named(aws) == []


def test_the_fleet_gets_its_settings_from_one_source(roles: Roles) -> None:
    aws = roles.aws
    planned = roles("aws_trading_server", check=True)
    assert aws.calls(write=True) == []
    assert "No models in algo-model-deploy yet" in planned.plan["summary"]["notes"]["models"]
    made = roles("aws_trading_server")
    assert lines(made) == lines(planned)
    assert {name for action, kind, name in lines(made) if kind == "SSM parameter" and action == "create"} == {
        "/algo-trading/qa/halt",
        "/algo-trading/qa/trading_server/fleet",
    }

    ssm, s3 = aws.client("ssm"), aws.client("s3")
    fleet = load_document(ssm.get_parameter(Name=SCOPE.parameter("trading_server", "fleet"))["Parameter"]["Value"])
    assert fleet["subnet_ids"] == roles.network["private_subnet_ids"]
    assert fleet["configuration"]["feed_url"] == "ws://alpaca-websocket.qa.algo-trading.internal:8765/v2/iex"

    for key in (
        "models/momentum/GOOG/sma-outer_0_inner_1/model.json",
        "models/mean/AAPL/rsi-outer_0_inner_0/model.json",
    ):
        s3.put_object(Bucket="algo-model-deploy", Key=key, Body=b"{}")
    grown = roles("aws_trading_server")
    assert sorted(name for _action, _kind, name in lines(grown)) == [
        "mean/AAPL/rsi-outer_0_inner_0",
        "momentum/GOOG/sma-outer_0_inner_1",
    ]
    assert len(grown.plan["summary"]["models"]) == 2
    aws.forget_calls()
    assert lines(roles("aws_trading_server")) == []
    assert aws.calls(write=True) == []


def test_without_schedules_the_function_stays_and_the_schedules_go(roles: Roles) -> None:
    aws = roles.aws
    roles("aws_alpaca_websocket")
    scheduler = aws.client("scheduler")
    assert {entry["Name"] for entry in scheduler.list_schedules(GroupName=ALPACA)["Schedules"]} == {"start", "stop"}
    # Somebody's own schedule in our group would act in our name.
    target = {"Arn": f"{LAMBDA}:{ALPACA}", "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{ALPACA}-scheduler"}
    window: Any = {"Mode": "OFF"}
    scheduler.create_schedule(
        GroupName=ALPACA, Name="extra", ScheduleExpression="rate(1 hour)", Target=target, FlexibleTimeWindow=window
    )
    assert lines(roles("aws_alpaca_websocket")) == [("delete", "schedule", f"{ALPACA}/extra")]

    silent = {"algo_schedules": False}
    planned = roles("aws_alpaca_websocket", check=True, **silent)
    removed = roles("aws_alpaca_websocket", **silent)
    assert lines(planned) == lines(removed)
    assert sorted(lines(removed)) == [
        ("delete", "alarm", f"{ALPACA}-no-start"),
        ("delete", "alarm", f"{ALPACA}-no-stop"),
        ("delete", "schedule", f"{ALPACA}/start"),
        ("delete", "schedule", f"{ALPACA}/stop"),
        ("delete", "schedule group", ALPACA),
    ]
    assert lines(roles("aws_alpaca_websocket", **silent)) == []
    assert [function["FunctionName"] for function in aws.client("lambda").list_functions()["Functions"]] == [ALPACA]


def test_what_is_not_ours_is_refused_and_left_alone(roles: Roles) -> None:
    aws = roles.aws
    aws.client("sns").create_topic(Name=SHUTDOWN, Tags=[{"Key": "Owner", "Value": "someone"}])
    aws.forget_calls()
    refused = roles("aws_trading_server_shutdown", fails=True)
    assert refused.rc != 0
    assert "does not carry this environment's tags (it has: Owner=someone)" in refused.output
    assert aws.calls(write=True, service="sns") == []
    # What does not need it is made, what does is not.
    said = " ".join(refused.output.split())
    assert f"Not done, because SNS topic {SHUTDOWN} failed: alarm {SHUTDOWN}-left-running" in said
    assert ("create", "SQS queue", SHUTDOWN) in lines(refused)
    assert aws.client("lambda").list_functions()["Functions"] == []


def test_what_an_interrupted_run_left_untagged_is_finished(roles: Roles) -> None:
    aws = roles.aws
    aws.client("sqs").create_queue(QueueName=SHUTDOWN)
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{SHUTDOWN}-dead-letters",
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[f"arn:aws:sns:us-east-1:{ACCOUNT}:{SHUTDOWN}"],
    )
    # AWS cannot give an existing queue a key through the module: set as a run would have.
    aws.client("sqs").set_queue_attributes(
        QueueUrl=aws.client("sqs").get_queue_url(QueueName=SHUTDOWN)["QueueUrl"],
        Attributes={"KmsMasterKeyId": "alias/aws/sqs"},
    )
    made = actions(roles("aws_trading_server_shutdown"))
    assert made[f"SQS queue {SHUTDOWN}"] == "update"
    assert made[f"alarm {SHUTDOWN}-dead-letters"] == "update"


def test_only_new_code_is_deployed(roles: Roles, tmp_path: Path) -> None:
    roles("aws_alpaca_websocket")
    package = tmp_path / "build" / "lambda" / "trading_day.zip"
    built = package.read_bytes()
    with zipfile.ZipFile(io.BytesIO(built)) as archive:
        assert "trading_day/handlers.py" in archive.namelist()
    package.unlink()  # built anew, elsewhere: the same bytes
    elsewhere = tmp_path / "elsewhere"
    again = roles("aws_alpaca_websocket", algo_build_dir=str(elsewhere))
    assert lines(again) == []
    assert (elsewhere / "lambda" / "trading_day.zip").read_bytes() == built
    function = roles.aws.client("lambda").get_function(FunctionName=ALPACA)
    assert function["Configuration"]["CodeSha256"] == base64.b64encode(hashlib.sha256(built).digest()).decode()


def everything_is_as_it_should_be(aws: Aws) -> None:
    tags = tags_of("trading_server_shutdown", SHUTDOWN)
    function = aws.client("lambda").get_function(FunctionName=SHUTDOWN)
    configuration = function["Configuration"]
    assert function["Tags"] == tags
    assert configuration["Architectures"] == ["arm64"]
    invocation = aws.client("lambda").get_function_event_invoke_config(FunctionName=SHUTDOWN)
    assert invocation["DestinationConfig"]["OnFailure"]["Destination"] == f"arn:aws:sqs:us-east-1:{ACCOUNT}:{SHUTDOWN}"
    assert configuration["Role"] == f"arn:aws:iam::{ACCOUNT}:role/{SHUTDOWN}-lambda"
    environment = configuration["Environment"]["Variables"]
    assert (environment["PROJECT"], environment["ENVIRONMENT"]) == ("algo-trading", "qa")
    assert environment["DRAIN_DOCUMENT"] == DRAIN

    [group] = aws.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{SHUTDOWN}")["logGroups"]
    assert group["retentionInDays"] == 90

    scheduler = aws.client("scheduler")
    schedule = scheduler.get_schedule(GroupName=SHUTDOWN, Name="shutdown")
    assert schedule["ScheduleExpressionTimezone"] == "America/New_York"
    assert schedule["Target"]["Arn"] == f"{LAMBDA}:{SHUTDOWN}"
    assert json.loads(schedule["Target"]["Input"])["action"] == "stop"
    assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith(f":{SHUTDOWN}")
    arn = scheduler.get_schedule_group(Name=SHUTDOWN)["Arn"]
    listed = scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"]
    assert {tag["Key"]: tag["Value"] for tag in listed} == tags

    cloudwatch = aws.client("cloudwatch")
    alarms = {alarm["AlarmName"]: alarm for alarm in cloudwatch.describe_alarms()["MetricAlarms"]}
    for name, alarm in alarms.items():
        assert alarm["AlarmActions"] == [f"arn:aws:sns:us-east-1:{ACCOUNT}:{SHUTDOWN}"]
        listed = cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
        assert {tag["Key"]: tag["Value"] for tag in listed} == tags_of("trading_server_shutdown", name)

    sns = aws.client("sns")
    [topic] = sns.list_topics()["Topics"]
    [subscription] = sns.list_subscriptions_by_topic(TopicArn=topic["TopicArn"])["Subscriptions"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.org")

    document = json.loads(aws.client("ssm").get_document(Name=DRAIN)["Content"])
    assert "parameters" not in document
    assert document["mainSteps"][0]["inputs"]["timeoutSeconds"] == "300"


def teardown() -> list[dict[str, Any]]:
    """Removes everything of the component, as the destroy playbook does."""
    entries = "{{ algo_account.resources | algo.trading.teardown_order(component='trading_server_shutdown') }}"
    return [{"algo.trading.resources": {"resources": entries, "component": "unknown"}}]


def everything_named(aws: Aws) -> list[str]:
    """What is left of what these roles make."""
    ssm = aws.client("ssm")
    own: Any = [{"Key": "Owner", "Values": ["Self"]}]
    return [
        *(function["FunctionName"] for function in aws.client("lambda").list_functions()["Functions"]),
        *(group["logGroupName"] for group in aws.client("logs").describe_log_groups()["logGroups"]),
        *(alarm["AlarmName"] for alarm in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]),
        *aws.client("sqs").list_queues().get("QueueUrls", []),
        *(topic["TopicArn"] for topic in aws.client("sns").list_topics()["Topics"]),
        *(document["Name"] for document in ssm.list_documents(Filters=own)["DocumentIdentifiers"]),
        *(parameter["Name"] for parameter in ssm.describe_parameters()["Parameters"]),
        *(schedule["Name"] for schedule in aws.client("scheduler").list_schedules()["Schedules"]),
    ]
