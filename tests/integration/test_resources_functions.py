"""The functions of the trading day and what belongs to them: checked, made, repeated, changed, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.components import ACCOUNT, Roles, lines, reasons

if TYPE_CHECKING:
    from conftest import Aws, Playbook, Run

SHUTDOWN = "algo-trading-trading-server-shutdown-qa"
SERVER = "algo-trading-trading-server-qa"
ALPACA = "algo-trading-alpaca-websocket-qa"
DRAIN = f"{SERVER}-drain"
LAMBDA = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function"
ALPACA_SCHEDULE: dict[str, Any] = {
    "ansible.builtin.include_role": {"name": "algo.trading.aws_alpaca_websocket", "tasks_from": "schedule.yml"}
}


@pytest.fixture
def roles(fresh_aws: Aws, playbook: Playbook, tmp_path: Path) -> Roles:
    roles = Roles(fresh_aws, playbook, tmp_path)
    ec2 = fresh_aws.client("ec2")
    group = ec2.create_security_group(GroupName=SERVER, Description=SERVER, VpcId=roles.network["vpc_id"])["GroupId"]
    roles.network["security_group_ids"][SERVER] = group
    iam = fresh_aws.client("iam")
    for name in (SHUTDOWN, SERVER, ALPACA):  # what aws_identity makes, and Lambda wants to see
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        iam.create_role(RoleName=f"{name}-lambda", AssumeRolePolicyDocument=trust)
    iam.create_instance_profile(InstanceProfileName=SERVER)
    roles.variables |= {
        "algo_alert_emails": ["ops@example.org"],
        "algo_release": {"algo_modeling": "0.1.0"},
        "algo_build_dir": str(tmp_path / "build"),
    }
    fresh_aws.forget_calls()
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
            ("create", "schedule group", SHUTDOWN),
            ("create", "schedule", f"{SHUTDOWN}/shutdown"),
        ]
    )
    everything_is_as_it_should_be(aws)

    aws.forget_calls()
    assert lines(roles("aws_trading_server_shutdown")) == []
    assert aws.calls(write=True) == []

    changes: dict[str, Any] = {
        "aws_trading_server_shutdown_schedule": "cron(20 16 ? * MON-FRI *)",
        "aws_trading_server_shutdown_drain_timeout": 120,
        "aws_trading_server_shutdown_log_retention": 30,
        "algo_alert_emails": ["desk@example.org"],
        "algo_tags": {"Team": "platform"},
    }
    planned = roles("aws_trading_server_shutdown", check=True, **changes)
    assert set(actions(planned).values()) == {"update"}
    for reason in (
        "schedule_expression: cron(10 16 ? * MON-FRI *) → cron(20 16 ? * MON-FRI *)",
        "environment_variables.DRAIN_TIMEOUT: 300 → 120",
        "retention: 90 → 30",
        "tags.Team: quants → platform",
        "desk@example.org",
    ):
        assert reason in reasons(planned)
    assert aws.calls(write=True) == []
    assert lines(roles("aws_trading_server_shutdown", **changes)) == lines(planned)
    assert lines(roles("aws_trading_server_shutdown", **changes)) == []
    back = roles("aws_trading_server_shutdown")
    assert lines(back) == lines(planned)
    assert lines(roles("aws_trading_server_shutdown")) == []

    removed = roles(tasks=teardown())
    assert len(lines(removed)) == 11
    assert {action for action, _kind, _name in lines(removed)} == {"delete"}
    assert lines(roles(tasks=teardown())) == []
    assert everything_named(aws) == []


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
    """Removes everything of ours but the identities, as the destroy playbook does."""
    return [
        {
            "algo.trading.resource": {
                "module": "{{ item.module }}",
                "name": "{{ item.name }}",
                "component": "{{ item.component or 'unknown' }}",
                "state": "absent",
            },
            "loop": "{{ algo_state | algo.trading.teardown_order | rejectattr('module', 'match', 'amazon.aws.iam')"
            " | rejectattr('component', 'eq', 'network') }}",
        }
    ]


def everything_named(aws: Aws) -> list[str]:
    """What is left of what these roles make."""
    ssm = aws.client("ssm")
    return [
        *(function["FunctionName"] for function in aws.client("lambda").list_functions()["Functions"]),
        *(group["logGroupName"] for group in aws.client("logs").describe_log_groups()["logGroups"]),
        *(alarm["AlarmName"] for alarm in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]),
        *aws.client("sqs").list_queues().get("QueueUrls", []),
        *(topic["TopicArn"] for topic in aws.client("sns").list_topics()["Topics"]),
        *(
            document["Name"]
            for document in ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Self"]}])["DocumentIdentifiers"]
        ),
        *(parameter["Name"] for parameter in ssm.describe_parameters()["Parameters"]),
        *(schedule["Name"] for schedule in aws.client("scheduler").list_schedules()["Schedules"]),
    ]
