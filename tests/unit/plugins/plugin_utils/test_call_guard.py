"""A module's calls touch the thing that it was started for and what it makes, and answers hold what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.call_guard import CallGuard, CallRefusedError

INSTANCE = frozenset({"InstanceId", "Resource"})


def instances(*ids: str) -> dict[str, Any]:
    return {
        "Reservations": [
            {"Instances": [{"InstanceId": found, "Tags": [{"Key": "Name", "Value": found}]}]} for found in ids
        ]
    }


def test_what_was_found_may_be_changed_and_nothing_else() -> None:
    guard, made = CallGuard(INSTANCE, ["i-1"]), []
    guard.watch("TerminateInstances", {"InstanceIds": ["i-1"]}, lambda: made.append("i-1"))
    for arguments in ({"InstanceIds": ["i-1", "i-2"]}, {"InstanceId": "i-2"}, {"Resources": ["i-2"], "Tags": []}):
        with pytest.raises(CallRefusedError, match="would have changed i-2"):
            guard.watch("TerminateInstances", arguments, lambda: made.append("another"))
    assert made == ["i-1"]


def test_what_the_module_makes_may_be_changed_by_it() -> None:
    guard = CallGuard(INSTANCE)
    guard.watch("RunInstances", {}, lambda: {"Instances": [{"InstanceId": "i-9"}]})
    assert guard.watch("CreateTags", {"Resources": ["i-9"]}, lambda: "tagged") == "tagged"
    with pytest.raises(CallRefusedError):
        guard.watch("CreateTags", {"Resources": ["i-8"]}, lambda: None)


@pytest.mark.parametrize(
    "arguments",
    [
        {"InstanceIds": ["i-1"]},
        {"Filters": [{"Name": "instance-id", "Values": ["i-1"]}]},
        {"Filters": [{"Name": "tag:Name", "Values": ["i-1*"]}]},
    ],
)
def test_an_answer_that_holds_more_than_was_asked_for_is_refused(arguments: dict[str, Any]) -> None:
    guard = CallGuard(INSTANCE, ["i-1"])
    assert guard.watch("DescribeInstances", arguments, lambda: instances("i-1")) == instances("i-1")
    with pytest.raises(CallRefusedError, match="also has i-2"):
        guard.watch("DescribeInstances", arguments, lambda: instances("i-1", "i-2"))


def test_only_where_it_is_allowed_a_thing_without_tags_is_taken_for_an_interrupted_runs() -> None:
    untagged = {"InternetGateways": [{"InternetGatewayId": "igw-1", "Tags": []}]}
    for allowed in (True, False):
        guard = CallGuard({"InternetGatewayId", "Resource"}, allow_untagged=allowed)
        guard.watch("DescribeInternetGateways", {}, lambda: untagged)
        if allowed:
            guard.watch("CreateTags", {"Resources": ["igw-1"]}, lambda: None)
        else:
            with pytest.raises(CallRefusedError):
                guard.watch("CreateTags", {"Resources": ["igw-1"]}, lambda: None)
