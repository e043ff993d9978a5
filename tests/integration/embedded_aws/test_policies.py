"""The evaluator agrees with AWS's documented cases, and with a prover that knows nothing of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

pytest.importorskip("iamprover", reason="the comparison needs iamprover, a development dependency")

from ansible_collections.algo.trading.tests.integration.policies import prover
from embedded_aws.policies import Policy, evaluate
from iamprover.model import Principal
from iamprover.parsers.iam import parse_policy_document


def policy(*statements: dict[str, Any]) -> Policy:
    return Policy("own", json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def allowed(statement: dict[str, Any], action: str, resource: str = "*", **context: Any) -> bool:
    given = {"Effect": "Allow", "Action": "*", "Resource": "*", **statement}
    return evaluate([policy(given)], action, resource, context).allowed


def test_nothing_is_allowed_unless_a_statement_says_so_and_a_denial_wins() -> None:
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::models/*"}
    assert not evaluate([], "s3:GetObject", "arn:aws:s3:::models/a", {}).allowed
    assert evaluate([policy(allow)], "s3:GetObject", "arn:aws:s3:::models/a", {}).by == ("own", 0)
    refused = evaluate([policy(allow, deny)], "s3:DeleteObject", "arn:aws:s3:::models/a", {})
    assert (refused.allowed, refused.explicit, refused.by) == (False, True, ("own", 1))
    assert evaluate([policy(allow, deny)], "s3:DeleteObject", "arn:aws:s3:::other/a", {}).allowed


@pytest.mark.parametrize(
    ("statement", "action", "resource", "expected"),
    [
        # Actions know no case and take wildcards; resources know case.
        ({"Action": "S3:getobject"}, "s3:GetObject", "*", True),
        ({"Action": ["ec2:Describe*"]}, "ec2:DescribeInstances", "*", True),
        ({"Action": ["ec2:Describe*"]}, "ec2:StopInstances", "*", False),
        ({"Resource": "arn:aws:s3:::Models/*"}, "s3:GetObject", "arn:aws:s3:::models/a", False),
        ({"Resource": "arn:aws:s3:::models/*/b"}, "s3:GetObject", "arn:aws:s3:::models/x/y/b", True),
        ({"Resource": "arn:aws:s3:::models/?"}, "s3:GetObject", "arn:aws:s3:::models/ab", False),
        ({"Resource": "arn:aws:s3:::models/[a]"}, "s3:GetObject", "arn:aws:s3:::models/a", False),
        ({"Resource": "arn:aws:s3:::models/[a]"}, "s3:GetObject", "arn:aws:s3:::models/[a]", True),
    ],
)
def test_actions_and_resources(statement: dict[str, Any], action: str, resource: str, expected: bool) -> None:
    assert allowed(statement, action, resource) is expected


def test_everything_but() -> None:
    statement = {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:s3:::secret/*"}
    own = [policy(statement)]
    assert evaluate(own, "s3:GetObject", "arn:aws:s3:::open/a", {}).allowed
    assert not evaluate(own, "iam:PassRole", "arn:aws:s3:::open/a", {}).allowed
    assert not evaluate(own, "s3:GetObject", "arn:aws:s3:::secret/a", {}).allowed


KEY = "aws:ResourceTag/Environment"


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ({"StringEquals": {KEY: "qa"}}, "qa", True),
        ({"StringEquals": {KEY: ["dev", "qa"]}}, "qa", True),
        ({"StringEquals": {KEY: "qa"}}, "QA", False),
        ({"StringEqualsIgnoreCase": {KEY: "qa"}}, "QA", True),
        ({"StringEquals": {KEY: "q*"}}, "qa", False),
        ({"StringLike": {KEY: "q*"}}, "qa", True),
        ({"StringNotEquals": {KEY: "prod"}}, "qa", True),
        ({"StringNotEquals": {KEY: ["prod", "qa"]}}, "qa", False),
        # A key that the request does not have: equal to nothing, and different from everything.
        ({"StringEquals": {KEY: "qa"}}, None, False),
        ({"StringNotEquals": {KEY: "prod"}}, None, True),
        ({"StringEqualsIfExists": {KEY: "qa"}}, None, True),
        ({"StringEqualsIfExists": {KEY: "qa"}}, "prod", False),
        ({"Null": {KEY: "true"}}, None, True),
        ({"Null": {KEY: "false"}}, None, False),
        ({"Null": {KEY: "false"}}, "qa", True),
        ({"Bool": {KEY: "true"}}, "True", True),
        ({"NumericLessThan": {KEY: "5"}}, "4.5", True),
        ({"NumericLessThan": {KEY: "5"}}, "5", False),
        ({"DateGreaterThan": {KEY: "2026-01-01T00:00:00Z"}}, "2026-06-01T00:00:00Z", True),
        ({"IpAddress": {KEY: "10.0.0.0/8"}}, "10.30.0.4", True),
        ({"NotIpAddress": {KEY: "10.0.0.0/8"}}, "10.30.0.4", False),
        ({"ArnLike": {KEY: "arn:aws:cloudwatch:*:123456789012:alarm:algo-*"}}, "arn:aws:cloudwatch:r:123456789012:alarm:algo-x", True),  # noqa: E501 - ARNs
        ({"ArnLike": {KEY: "arn:aws:*:alarm:x"}}, "arn:aws:cloudwatch:r:123456789012:alarm:x", False),
        ({"ForAllValues:StringEquals": {KEY: ["a", "b"]}}, ["a", "b"], True),
        ({"ForAllValues:StringEquals": {KEY: ["a", "b"]}}, ["a", "c"], False),
        ({"ForAllValues:StringEquals": {KEY: ["a", "b"]}}, None, True),
        ({"ForAnyValue:StringEquals": {KEY: ["a", "b"]}}, ["c", "b"], True),
        ({"ForAnyValue:StringEquals": {KEY: ["a", "b"]}}, None, False),
        # What is no number, no date and no address matches nothing.
        ({"NumericLessThan": {KEY: "5"}}, "many", False),
        ({"DateGreaterThan": {KEY: "2026-01-01T00:00:00Z"}}, "yesterday", False),
        ({"IpAddress": {KEY: "10.0.0.0/8"}}, "here", False),
        ({"NotIpAddress": {KEY: "10.0.0.0/8"}}, "here", True),
        # All operators and all keys have to hold.
        ({"StringEquals": {KEY: "qa"}, "Null": {"aws:RequestTag/Model": "false"}}, "qa", False),
        # What is not understood lets nobody through.
        ({"SomethingNew": {KEY: "qa"}}, "qa", False),
    ],
)  # fmt: skip
def test_conditions(condition: dict[str, Any], value: Any, expected: bool) -> None:
    context = {} if value is None else {KEY: value}
    assert allowed({"Condition": condition}, "ec2:StopInstances", **context) is expected


def test_a_condition_that_is_not_understood_still_denies() -> None:
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"SomethingNew": {KEY: "x"}}}
    assert not evaluate([policy({"Effect": "Allow", "Action": "*", "Resource": "*"}, deny)], "a:b", "*", {}).allowed


def test_names_of_condition_keys_know_no_case_and_variables_are_filled_in() -> None:
    statement = {
        "Resource": "arn:aws:s3:::home/${aws:username}/*",
        "Condition": {"StringEquals": {"AWS:Username": "x"}},
    }
    context = {"aws:username": "x"}
    assert allowed(statement, "s3:GetObject", "arn:aws:s3:::home/x/a", **context)
    assert not allowed(statement, "s3:GetObject", "arn:aws:s3:::home/y/a", **context)
    assert not allowed({"Resource": "arn:aws:s3:::home/${aws:username}/*"}, "s3:GetObject", "arn:aws:s3:::home//a")


ACTIONS = ("ec2:StartInstances", "ec2:StopInstances", "ssm:SendCommand")
RESOURCES = tuple(f"arn:aws:ec2:us-east-1:123456789012:instance/{name}" for name in ("i-0a", "i-0b"))
KEYS = ("aws:ResourceTag/Environment", "aws:ResourceTag/Component")
VALUES = ("qa", "prod", "trading_server")


def _statements() -> Any:
    some = st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True)
    condition = st.dictionaries(
        st.sampled_from(("StringEquals", "StringLike")),
        st.dictionaries(st.sampled_from(KEYS), some, min_size=1),
        max_size=1,
    )
    return st.fixed_dictionaries(
        {
            "Effect": st.just("Allow"),
            "Action": st.lists(st.sampled_from((*ACTIONS, "ec2:*", "ec2:St?pInstances")), min_size=1, max_size=2),
            "Resource": st.sampled_from((*RESOURCES, "arn:aws:ec2:us-east-1:123456789012:instance/*", "*")),
            "Condition": condition,
        }
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(_statements(), min_size=1, max_size=3),
    st.sampled_from(ACTIONS),
    st.sampled_from(RESOURCES),
    st.fixed_dictionaries({key: st.sampled_from(VALUES) for key in KEYS}),
)
def test_the_prover_decides_the_same(
    statements: list[dict[str, Any]], action: str, resource: str, context: dict[str, str]
) -> None:
    document = {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}
    principal = Principal(
        arn="arn:aws:iam::123456789012:role/x",
        policies=[parse_policy_document("own", document)],
        trust_policy=parse_policy_document("trust", {"Version": "2012-10-17", "Statement": []}),
    )
    proved = prover.refute(principal, prover.Claim("as asked", (action,), (resource,), equal=context)) is not None
    assert evaluate([policy(*statements)], action, resource, context).allowed is proved
