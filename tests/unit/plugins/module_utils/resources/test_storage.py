"""Bucket policies and life-cycle rules are compared by what they mean."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import storage
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide
from ansible_collections.algo.trading.plugins.module_utils.resources._model import Scope

DENY = {"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": ["s3:*"], "Resource": ["arn:b", "arn:a"]}


def test_a_policy_is_the_same_in_any_order_as_text_and_with_lists_of_one() -> None:
    other = {**DENY, "Action": "s3:*", "Resource": ["arn:a", "arn:b"]}
    wanted = {"Version": "2012-10-17", "Statement": [DENY, {"Sid": "B", "Effect": "Allow"}]}
    actual = {"Statement": [{"Sid": "B", "Effect": "Allow"}, other], "Version": "2012-10-17"}
    assert storage.normalize_policy(wanted) == storage.normalize_policy(json.dumps(actual))
    assert storage.normalize_policy(wanted) != storage.normalize_policy({**actual, "Statement": [other]})


@pytest.mark.parametrize("nothing", ["", {}, "{}"])
def test_no_policy_is_an_empty_one(nothing: Any) -> None:
    assert storage.normalize_policy(nothing) == {}


def rule(**given: Any) -> dict[str, Any]:
    read = storage._rule("b", {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "x/"}, **given})
    return {"ours": True, **read.as_dict(ours=True)}


def test_a_rule_that_says_the_same_is_left() -> None:
    found = rule(
        Expiration={"Days": 9},
        NoncurrentVersionExpiration={"NoncurrentDays": 30},
        AbortIncompleteMultipartUpload={"DaysAfterInitiation": 7},
        Transitions=[{"Days": 3, "StorageClass": "STANDARD_IA"}],
    )
    wanted = {
        "name": "b",
        "rule_id": "r",
        "prefix": "x/",
        "expiration_days": 9,
        "noncurrent_version_expiration_days": 30,
        "abort_incomplete_multipart_upload_days": 7,
        "transitions": [{"transition_days": 3, "storage_class": "standard_ia"}],
    }
    assert decide(storage.LIFECYCLE_RULE, wanted, found).action == "no-op"


def test_what_a_rule_does_beyond_the_settings_is_a_difference() -> None:
    wanted = {"name": "b", "rule_id": "r", "prefix": "x/", "expiration_days": 9}
    deletes = rule(Expiration={"Days": 9}, NoncurrentVersionExpiration={"NoncurrentDays": 1})
    decision = decide(storage.LIFECYCLE_RULE, wanted, deletes)
    assert decision.reasons == ("noncurrent_version_expiration_days: 1 → unset",)
    assert decide(storage.LIFECYCLE_RULE, wanted, rule(Expiration={"Days": 9}, Status="Disabled")).reasons == (
        "status: disabled → enabled",
    )


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_arns_carry_the_regions_partition(region: str, partition: str) -> None:
    assert storage._partition(Scope("p", "qa", region)) == partition
