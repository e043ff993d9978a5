"""SSM parameters and documents: what counts as a change, and what is never looked at."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.parameters import (
    DOCUMENT,
    PARAMETER,
    document_names,
)


def found(**settings: Any) -> dict[str, Any]:
    return {"ours": True, "settings": settings, "attributes": {}, "tags": {}}


def test_json_is_compared_by_its_meaning_and_a_difference_names_its_key() -> None:
    there = found(value={"market": "spot", "subnet_ids": ["a"]})
    assert decide(PARAMETER, {"value": '{"subnet_ids": ["a"],   "market": "spot"}'}, there).action == "no-op"
    decision = decide(PARAMETER, {"value": '{"subnet_ids": ["a"], "market": "on-demand"}'}, there)
    assert decision.reasons == ("value.market: spot → on-demand",)


def test_a_secret_is_never_compared() -> None:
    wanted = {"string_type": "SecureString", "value": "hidden"}
    assert decide(PARAMETER, wanted, found(string_type="SecureString")).action == "no-op"


def test_the_tier_that_aws_chose_is_no_difference() -> None:
    assert decide(PARAMETER, {"tier": "Intelligent-Tiering"}, found(tier="Standard")).action == "no-op"
    assert decide(PARAMETER, {"tier": "Advanced"}, found(tier="Standard")).action == "update"


def test_a_document_is_compared_by_its_meaning() -> None:
    content = {"schemaVersion": "2.2", "mainSteps": []}
    assert (
        decide(DOCUMENT, {"content": '{"mainSteps":[],"schemaVersion":"2.2"}'}, found(content=content)).action
        == "no-op"
    )
    decision = decide(DOCUMENT, {"content": {**content, "description": "Drain"}}, found(content=content))
    assert decision.reasons == ("content.description: unset → Drain",)


def test_another_type_of_document_is_another_document() -> None:
    there = found(document_type="Automation", name="x")
    assert decide(DOCUMENT, {"document_type": "Command"}, there).action == "replace"


def test_the_documents_are_known_by_their_names() -> None:
    server = "algo-trading-trading-server-qa"
    assert document_names(Scope("algo-trading", "qa")) == [f"{server}-drain", f"{server}-status"]
