"""Dashboards against the embedded AWS: plan, make, repeat, change, remove."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws, Tasks

NAME = "algo-trading-trading-server-shutdown-qa-day"
ARN = f"arn:aws:cloudwatch::123456789012:dashboard/{NAME}"
TAGS = {"Project": "algo-trading", "Environment": "qa"}
WIDGET: dict[str, Any] = {"type": "text", "width": 6, "height": 2, "properties": {"markdown": "# Day"}}


def dashboard(**given: Any) -> dict[str, Any]:
    return {"algo.trading.cloudwatch_dashboard": {"name": NAME, **given}}


def test_a_dashboard_lives_from_plan_to_removal(fresh_aws: Aws, tasks: Tasks) -> None:
    cloudwatch = fresh_aws.client("cloudwatch")
    body = {"widgets": [WIDGET]}
    (planned,) = tasks(dashboard(body=body, tags=TAGS), check=True, diff=True)
    assert planned["changed"]
    assert planned["diff"] == {"before": {}, "after": {"name": NAME, "body": body, "tags": TAGS}}
    assert fresh_aws.calls(write=True) == []

    # The same body in another order and with blanks is the same body.
    text = json.dumps({"widgets": [dict(reversed(WIDGET.items()))]}, indent=4)
    made, again, as_text = tasks(dashboard(body=body, tags=TAGS), dashboard(body=body, tags=TAGS), dashboard(body=text))
    assert [made["changed"], again["changed"], as_text["changed"]] == [True, False, False]
    assert again["dashboard"] == {"name": NAME, "arn": ARN, "body": body, "tags": TAGS}
    assert fresh_aws.count(write=True, service="cloudwatch") == {"cloudwatch:PutDashboard": 1}

    # What is not given stays: the tags with another body, the body with other tags.
    wide = {"widgets": [{**WIDGET, "width": 24}]}
    planned, changed, tagged = (
        *tasks(dashboard(body=wide), check=True, diff=True),
        *tasks(dashboard(body=wide), dashboard(tags={"Project": "algo-trading", "Owner": "desk"})),
    )
    assert planned["diff"]["before"]["body"] == body
    assert planned["dashboard"] == changed["dashboard"] == {"name": NAME, "arn": ARN, "body": wide, "tags": TAGS}
    assert tagged["changed"]
    assert json.loads(cloudwatch.get_dashboard(DashboardName=NAME)["DashboardBody"]) == wide
    kept = {tag["Key"]: tag["Value"] for tag in cloudwatch.list_tags_for_resource(ResourceARN=ARN)["Tags"]}
    assert kept == {"Project": "algo-trading", "Owner": "desk"}

    (planned,) = tasks(dashboard(state="absent"), check=True, diff=True)
    assert planned["diff"]["after"] == {}
    assert cloudwatch.list_dashboards()["DashboardEntries"]
    removed, gone = tasks(dashboard(state="absent"), dashboard(state="absent"))
    assert [removed["changed"], gone["changed"]] == [True, False]
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []


def test_what_cannot_be_a_dashboard_is_refused(fresh_aws: Aws, tasks: Tasks) -> None:
    for given, said in (
        ({"body": "{"}, "body must be a dictionary, or JSON that is one"),
        ({"body": {"widget": []}}, "body requires a list of widgets"),
        ({}, f"Dashboard {NAME} cannot be created without a body"),
    ):
        (refused,) = tasks(dashboard(**given), check=True)
        assert refused["failed"]
        assert said in refused["msg"]
    assert fresh_aws.calls(write=True) == []
