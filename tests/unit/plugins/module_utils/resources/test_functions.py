"""Lambda functions: what counts as a change, and what others refer to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.resources import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.functions import (
    FUNCTION,
    INVOCATION,
    code_sha256,
)

ARN = "arn:aws:lambda:us-east-1:123456789012:function:algo-trading-trading-server-qa"


def found(**settings: Any) -> dict[str, Any]:
    return {"ours": True, "settings": settings, "attributes": {"arn": ARN}, "tags": {}}


def test_code_is_compared_by_its_digest_wherever_it_was_built(tmp_path: Path) -> None:
    one, other = tmp_path / "one.zip", tmp_path / "other.zip"
    one.write_bytes(b"same")
    other.write_bytes(b"same")
    deployed = found(code_sha256=code_sha256(str(one)))
    assert decide(FUNCTION, {"zip_file": str(other)}, deployed).action == "no-op"
    other.write_bytes(b"changed")
    decision = decide(FUNCTION, {"zip_file": str(other)}, deployed)
    assert decision.action == "update"
    assert decision.reasons[0].startswith("code_sha256: ")


def test_the_digest_is_the_one_that_lambda_reports(tmp_path: Path) -> None:
    package = tmp_path / "package.zip"
    package.write_bytes(b"test")
    assert code_sha256(str(package)) == "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="


def test_numbers_in_the_environment_are_strings_to_lambda() -> None:
    deployed = found(environment_variables={"DRAIN_TIMEOUT": "300"})
    assert decide(FUNCTION, {"environment_variables": {"DRAIN_TIMEOUT": 300}}, deployed).action == "no-op"
    decision = decide(FUNCTION, {"environment_variables": {"DRAIN_TIMEOUT": 120}}, deployed)
    assert decision.reasons == ("environment_variables.DRAIN_TIMEOUT: 300 → 120",)


def test_others_refer_to_the_function_and_not_to_the_version_just_published() -> None:
    assert FUNCTION.attributes({"configuration": {"function_arn": f"{ARN}:7"}}, {}) == {"arn": ARN}
    assert FUNCTION.attributes({}, {}) == {"arn": None}


def test_a_role_that_is_not_known_everywhere_yet_is_waited_for() -> None:
    message = "The role defined for the function cannot be assumed by Lambda."
    assert any(part in message for part in FUNCTION.retryable_errors)


def test_invocations_end_before_their_function() -> None:
    assert INVOCATION.destroy_order < FUNCTION.destroy_order
