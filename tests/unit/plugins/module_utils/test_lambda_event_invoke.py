"""Asynchronous invocations: one shape for whatever AWS answers."""

from __future__ import annotations

from ansible_collections.algo.trading.plugins.module_utils.lambda_event_invoke import invocation_view


def test_what_aws_leaves_out_is_its_default() -> None:
    assert invocation_view({}) == {
        "maximum_retry_attempts": 2,
        "maximum_event_age_in_seconds": 21600,
        "on_failure": "",
        "on_success": "",
    }


def test_no_retries_are_no_default() -> None:
    config = {
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnFailure": {"Destination": "arn:queue"}, "OnSuccess": {}},
    }
    assert invocation_view(config)["maximum_retry_attempts"] == 0
    assert invocation_view(config)["on_failure"] == "arn:queue"


def test_no_configuration_is_empty() -> None:
    assert invocation_view(None) == {}
