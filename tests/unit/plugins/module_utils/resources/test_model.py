"""Names, tags and ownership: what is an environment's own, and what only looks like it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources._model import (
    Found,
    Scope,
    error_code,
    snake,
    tag_dict,
    unless_missing,
)

SCOPE = Scope("algo-trading", "qa")
OURS = {"Project": "algo-trading", "Environment": "qa", "ManagedBy": "algo.trading"}


class Refusal(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


def test_names_and_tags_carry_project_component_and_environment() -> None:
    assert SCOPE.name("trading_server_shutdown") == "algo-trading-trading-server-shutdown-qa"
    assert SCOPE.tags("network") == {**OURS, "Component": "network"}


@pytest.mark.parametrize(
    ("name", "owned"),
    [
        ("algo-trading-mlflow-server-qa", True),
        ("algo-trading-trading-server-qa-lambda", True),
        ("algo-trading-mlflow-server-qa2", False),
        ("algo-trading-mlflow-server-prod", False),
        ("algo-trading-other-qa", False),
        ("other-mlflow-server-qa", False),
    ],
)
def test_a_name_is_ours_with_its_environment_whole(name: str, owned: bool) -> None:
    assert SCOPE.owns_name(name) is owned


@pytest.mark.parametrize(
    ("tags", "owned"),
    [
        (OURS, True),
        ({**OURS, "Team": "x"}, True),
        ({**OURS, "Environment": "prod"}, False),
        ({**OURS, "ManagedBy": "terraform"}, False),
        ({"Project": "algo-trading", "Environment": "qa"}, False),
        ({}, False),
    ],
)
def test_tags_say_whose_a_thing_is(tags: dict[str, str], owned: bool) -> None:
    assert SCOPE.owns(tags) is owned


def test_a_thing_that_was_left_unfinished_is_ours() -> None:
    assert Found("b", tags={}, unfinished=True).as_dict(ours=False)["ours"]
    assert Found("b", tags={}).as_dict(ours=True)["ours"]
    assert "pending_deletion" not in Found("b").as_dict(ours=True)
    assert (
        Found("b", pending_deletion="being deleted", note="why").as_dict(ours=False)["pending_deletion"]
        == "being deleted"
    )


def test_a_missing_thing_is_none_and_any_other_refusal_an_error() -> None:
    def call(code: str) -> Any:
        raise Refusal(code)

    assert unless_missing(call, "NotThere", code="NotThere") is None
    with pytest.raises(Refusal):
        unless_missing(call, "NotThere", code="AccessDenied")
    assert error_code(ValueError("x")) == ""


def test_shapes_of_aws_become_ours() -> None:
    assert tag_dict([{"Key": "A", "Value": "b"}, {"Key": "C"}]) == {"A": "b", "C": ""}
    assert tag_dict(None) == {}
    names = ("HttpTokens", "BlockPublicAcls", "Name")
    assert [snake(name) for name in names] == ["http_tokens", "block_public_acls", "name"]
