"""Life-cycle rules are compared by what they mean."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.resources import storage
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide


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
