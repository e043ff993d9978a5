"""One environment's life, in order: planned, made, repeated, changed bit by bit, each time as the plan foretold."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._components import COMPONENTS, FUNCTIONS
from ansible_collections.algo.trading.tests.integration.environments import (
    ACCOUNT,
    LOCK,
    MODELS,
    ROOT,
    Environment,
    Line,
)

sys.path.insert(0, str(ROOT / "lambda"))

from trading_day.report import completed_metric

if TYPE_CHECKING:
    from conftest import Aws, Playbook

SHUTDOWN, WEBSOCKET, MLFLOW = (
    f"algo-trading-{component}-qa" for component in ("trading-server-shutdown", "alpaca-websocket", "mlflow-server")
)
DASHED = [function.replace("_", "-") for function in FUNCTIONS]
# Statements of docs/permissions.md that this module's runs do not need, and who does.
UNNEEDED = {
    "PlanS3b": "manifests of models, and models that were copied from another bucket",
    "ChangeLambdab": "a queue that tells of new models (test_new_models.py)",
    "RemoveLambdab": "the same",
    "ChangeSnsb": "an address that is no longer among algo_alert_emails",
    "ChangeTag": "things whose service cannot be asked to change tags alone",
}
NEW_MODEL = "momentum/MSFT/sma-outer_0_inner_0"


class Cycle:
    """What the first steps found is looked at by several tests."""

    def __init__(self, qa: Environment) -> None:
        self.qa = qa
        # With the permissions of docs/permissions.md, those to remove left out.
        qa.as_operator("plan")
        self.planned = qa.plan()
        qa.as_operator("plan", "change")
        # As talkative as can be: what must not be in the output would be in this one.
        self.made = qa("--diff", "-vvv")


@pytest.fixture(scope="module")
def cycle(aws: Aws, shared_playbook: Playbook) -> Cycle:
    aws.reset()
    qa = Environment(aws, shared_playbook, "qa")
    qa.publish(*MODELS)
    return Cycle(qa)


@pytest.fixture(scope="module")
def qa(cycle: Cycle) -> Environment:
    return cycle.qa


def test_an_empty_account_is_planned_in_full_without_a_writing_call(cycle: Cycle) -> None:
    """That nothing was written was asserted by `plan`."""
    lines, counts = cycle.planned.run.plan["plan"], cycle.planned.counts
    # What is not there and should not be, such as the GPU instance, is no line, and so not counted as unchanged.
    assert {line["action"] for line in lines} == {"create"}
    assert counts == {"create": len(cycle.planned.lines)}
    assert all(line["reasons"] and line["component"] in COMPONENTS for line in lines)
    # Identities belong to the components that have them.
    assert {line["component"] for line in lines} == set(COMPONENTS) - {"identity"}
    assert [name for _action, kind, name in cycle.planned.lines if kind == "trading server"] == sorted(MODELS)
    assert f"Plan: {counts['create']} to create, 0 to change, 0 to replace, 0 to remove" in cycle.planned.output
    assert "Nothing was changed" in cycle.planned.output
    # What stands on something comes after it.
    places = {(kind, name): place for place, (_action, kind, name) in enumerate(cycle.planned.lines)}
    network = "algo-trading-network-qa"
    assert places["VPC", network] < places["subnet", f"{network}-private-a"] < places["security group", MLFLOW]
    assert places["database subnet group", MLFLOW] < places["database", MLFLOW]
    assert places["Lambda function", SHUTDOWN] < places["schedule", f"{SHUTDOWN}/shutdown"]


def test_a_run_makes_exactly_what_was_planned(cycle: Cycle) -> None:
    assert sorted(cycle.made.lines) == sorted(cycle.planned.lines)
    assert cycle.made.counts == cycle.planned.counts
    assert cycle.made.run.plan["status"] == "ok"
    assert f"Done: {len(cycle.planned.lines)} created, 0 changed, 0 replaced, 0 removed" in cycle.made.output
    assert cycle.qa.models() == sorted(MODELS)


def test_everything_that_can_be_tagged_is(cycle: Cycle) -> None:
    state = cycle.qa.reading()
    things = [
        (kind, name, thing) for kind, found in state.items() if kind != "instances" for name, thing in found.items()
    ]
    assert len(things) >= 80
    theirs = [name for _kind, name, thing in things if not thing["ours"]]
    assert theirs == [cycle.qa.bucket]
    for _kind, name, thing in things:
        if thing["tags"] is not None and thing["ours"]:
            assert thing["tags"]["Component"] in COMPONENTS, name
            assert thing["tags"]["ManagedBy"] == "algo.trading", name


def test_no_secret_is_in_any_output(cycle: Cycle) -> None:
    secrets = cycle.qa.aws.client("secretsmanager")
    value = json.loads(secrets.get_secret_value(SecretId=MLFLOW)["SecretString"])
    passwords = [text for name, text in value.items() if "password" in name or name.endswith("_key")]
    assert len(passwords) >= 2
    everything = cycle.made.output + json.dumps(cycle.made.run.plan)
    assert not [password for password in passwords if password in everything]


def test_a_second_run_changes_nothing(qa: Environment) -> None:
    again = qa("--diff")
    assert again.lines == []
    assert again.run.total("changed") == 0
    assert again.writes == LOCK
    assert "Nothing to change" in again.output
    assert "(changed=0)" in again.output


SHUTDOWN_CHANGED: dict[str, Any] = {
    "aws_trading_server_shutdown_schedule": "cron(20 16 ? * * *)",
    "aws_trading_server_shutdown_timeout": 600,
}
ALL_CHANGED: dict[str, Any] = {
    **SHUTDOWN_CHANGED,
    "aws_mlflow_server_instance_type": "t4g.medium",
    "aws_alpaca_websocket_log_retention": 30,
}
# Settings, and what they change: nothing else may be in the plan.
CHANGES: dict[str, tuple[dict[str, Any], dict[Line, str]]] = {
    "when the shutdown runs, and for how long": (
        SHUTDOWN_CHANGED,
        {
            ("update", "schedule", f"{SHUTDOWN}/shutdown"): "cron(10 16 ? * * *) → cron(20 16 ? * * *)",
            ("update", "Lambda function", SHUTDOWN): "timeout: 900 → 600",
        },
    ),
    "a machine and a retention": (
        ALL_CHANGED,
        {
            ("replace", "instance", MLFLOW): "instance_type: t4g.small → t4g.medium",
            # The new machine has another address, which its name must lead to.
            ("update", "DNS record", "mlflow-server.qa.algo-trading.internal"): "+(known after apply)",
            ("update", "log group", f"/aws/lambda/{WEBSOCKET}"): "retention: 90 → 30",
            ("update", "log group", "/algo-trading/qa/alpaca_websocket"): "retention: 90 → 30",
        },
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_setting_is_planned_done_and_then_done_with(qa: Environment, what: str) -> None:
    settings, expected = CHANGES[what]
    planned = qa.plan(**settings)
    assert set(planned.lines) == set(expected)
    for line, reason in expected.items():
        assert reason in "\n".join(planned.reasons[line])
    done = qa(**settings)
    assert set(done.lines) <= set(planned.lines)
    # Nobody can foretell that the new machine gets the old one's address, as an emulator may give it.
    assert {kind for _action, kind, _name in set(planned.lines) - set(done.lines)} <= {"DNS record"}
    again = qa.plan(**settings)
    assert again.lines == []


def test_what_aws_cannot_change_is_refused_before_anything_is(qa: Environment) -> None:
    before = qa.reading()
    refused = qa(fails=True, aws_network_cidr="10.31.0.0/16", **ALL_CHANGED)
    assert "AWS cannot change cidr_block of an existing VPC" in " ".join(refused.output.split())
    assert refused.writes - LOCK == Counter()
    assert qa.reading() == before


def test_the_models_in_the_bucket_decide_about_servers(qa: Environment) -> None:
    settings = ALL_CHANGED
    qa.publish(NEW_MODEL)
    qa.publish(MODELS[0], content="better weights")
    qa.retire(MODELS[1])
    # A third of the fleet is more than may go without a word.
    share = {"aws_trading_server_once_max_terminate_share": 0.5}
    planned = qa.plan(**settings, **share)
    fleet = [line for line in planned.lines if line[1] == "trading server"]
    assert ("create", "trading server", NEW_MODEL) in fleet
    assert ("delete", "trading server", MODELS[1]) in fleet
    assert [line[0] for line in fleet if line[2] == MODELS[0]] in (["restart"], ["replace"], ["reconfigure"])
    assert MODELS[2] not in [line[2] for line in fleet]
    # What holds once is none of the settings that the function reads.
    assert [line for line in planned.lines if line not in fleet] == []

    done = qa(**settings, **share)
    assert sorted(done.lines) == sorted(planned.lines)
    assert qa.models() == sorted({*MODELS, NEW_MODEL} - {MODELS[1]})
    assert qa.plan(**settings, **share).lines == []


def test_a_part_is_run_by_limit_by_tag_and_by_its_own_playbook(qa: Environment) -> None:
    """All settings are back to what they were: each way mends what belongs to its component, and nothing else."""
    whole = qa.plan()
    assert {line[2] for line in whole.lines} >= {SHUTDOWN, f"{SHUTDOWN}/shutdown", MLFLOW, f"/aws/lambda/{WEBSOCKET}"}

    limited = qa("--limit", "aws_trading_server_shutdown")
    assert sorted(limited.lines) == [
        ("update", "Lambda function", SHUTDOWN),
        ("update", "schedule", f"{SHUTDOWN}/shutdown"),
    ]
    tagged = qa("--tags", "alpaca_websocket")
    assert sorted(tagged.lines) == [
        ("update", "log group", "/algo-trading/qa/alpaca_websocket"),
        ("update", "log group", f"/aws/lambda/{WEBSOCKET}"),
    ]
    alone = qa(playbook="playbooks/mlflow_server.yml")
    assert ("instance", MLFLOW) in [line[1:] for line in alone.lines]
    assert {line["component"] for line in alone.run.plan["plan"]} == {"mlflow_server"}
    assert qa.plan().lines == []


def test_the_dashboard_shows_every_alarm_and_asks_only_for_what_there_is(qa: Environment, aws: Aws) -> None:
    cloudwatch, name = aws.client("cloudwatch"), f"{SHUTDOWN}-day"
    widgets = json.loads(cloudwatch.get_dashboard(DashboardName=name)["DashboardBody"])["widgets"]
    (alarms,) = [each["properties"]["alarms"] for each in widgets if each["type"] == "alarm"]
    assert sorted(alarms) == sorted(each["AlarmArn"] for each in cloudwatch.describe_alarms()["MetricAlarms"])
    # A metric that nobody writes, or a log group that nobody has, would be an empty picture.
    written = "".join(path.read_text() for path in (ROOT / "lambda" / "trading_day").glob("*.py"))
    written += "".join(completed_metric(action) for action in ("start", "check", "stop"))
    series = [metric for each in widgets for metric in each["properties"].get("metrics", [])]
    assert {metric[0] for metric in series} == {"AlgoTrading", "AWS/Lambda"}
    assert [metric[1] for metric in series if metric[0] == "AlgoTrading" and metric[1] not in written] == []
    own = {"Project": "algo-trading", "Environment": "qa"}
    for metric in series:
        dimensions = dict(zip(metric[2:-1:2], metric[3:-1:2], strict=True))
        function = dimensions.pop("Function", "") or dimensions.pop("FunctionName", "")
        assert dimensions == (own if metric[0] == "AlgoTrading" else {})
        assert function in (FUNCTIONS if metric[0] == "AlgoTrading" else {f"algo-trading-{each}-qa" for each in DASHED})
    groups = {group["logGroupName"] for group in aws.client("logs").describe_log_groups()["logGroups"]}
    queries = [each["properties"]["query"] for each in widgets if each["type"] == "log"]
    assert len(queries) == 3
    assert {group for query in queries for group in re.findall("SOURCE '([^']+)'", query)} <= groups
    # Gone with its setting, and back.
    qa.as_operator("plan", "change", "remove")
    # A selection of this file's tests may have left settings of others.
    without = qa(aws_trading_server_shutdown_dashboard=False)
    assert [line for line in without.lines if line[1] == "dashboard"] == [("delete", "dashboard", name)]
    qa.as_operator("plan", "change")
    assert qa().lines == [("create", "dashboard", name)]


def test_a_missing_permission_is_named_and_nothing_is_changed(qa: Environment) -> None:
    """One statement of docs/permissions.md less: Amazon's message, at once."""
    qa.as_operator("plan", "change", without="PlanRds")
    refused = qa(fails=True)
    said = " ".join(refused.output.split())
    assert "is not authorized to perform: rds:Describe" in said
    assert "because no identity-based policy allows the rds:Describe" in said
    assert refused.writes - LOCK == Counter()


def test_the_operator_needs_what_the_page_says_and_nothing_else_was_tried(qa: Environment, aws: Aws) -> None:
    qa.as_operator("plan", "change", "remove")
    qa.destroy(confirm="qa", algo_destroy_buckets=[f"{name}-{ACCOUNT}" for name in (WEBSOCKET, MLFLOW)])
    report = aws.permissions()
    operator = f"arn:aws:iam::{ACCOUNT}:role/operator"
    refused = {item["action"] for item in report["refused"] if item["role"] == operator}
    assert [action for action in refused if not action.startswith("rds:")] == []  # those of the test above
    unneeded = {item["statement"] for item in report["unneeded"] if item["role"] == operator}
    assert unneeded == set(UNNEEDED)
