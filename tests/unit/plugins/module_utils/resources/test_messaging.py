"""Queues and topics: what counts as a change."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.resources import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.messaging import QUEUE, TOPIC


def found(**settings: Any) -> dict[str, Any]:
    return {"ours": True, "settings": settings, "attributes": {}, "tags": {}}


def statement(sid: str, action: Any) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*"}


def test_the_order_of_statements_and_lists_of_one_are_no_difference() -> None:
    one, two = statement("One", "sqs:*"), statement("Two", ["sqs:SendMessage"])
    wanted = {"policy": {"Version": "2012-10-17", "Statement": [one, two]}}
    same = {"Version": "2012-10-17", "Statement": [statement("Two", "sqs:SendMessage"), one]}
    as_read = QUEUE.normalize({"policy": same})["policy"]
    assert decide(QUEUE, wanted, found(policy=as_read)).action == "no-op"
    assert decide(QUEUE, wanted, found(policy={})).action == "update"


def test_a_key_that_the_module_cannot_add_is_refused_rather_than_promised() -> None:
    decision = decide(QUEUE, {"kms_master_key_id": "alias/aws/sqs"}, found(kms_master_key_id=None))
    assert decision.action == "refuse"


def test_the_order_of_subscriptions_has_no_meaning() -> None:
    subscriptions = [{"protocol": "email", "endpoint": name} for name in ("a@example.org", "b@example.org")]
    assert decide(TOPIC, {"subscriptions": subscriptions}, found(subscriptions=subscriptions[::-1])).action == "no-op"
    decision = decide(TOPIC, {"subscriptions": subscriptions}, found(subscriptions=subscriptions[:1]))
    assert decision.action == "update"
    assert "b@example.org" in decision.reasons[0]
