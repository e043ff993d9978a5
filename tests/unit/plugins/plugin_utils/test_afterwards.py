"""What a task hands on when its work is done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.algo.trading.plugins.plugin_utils import afterwards

VARIABLES: dict[str, Any] = {
    "where": "vpc",
    "summary": {"ids": trust_as_template("{{ result.resources[where].id }}"), "plain": 1},
    "broken": trust_as_template("{{ result.no.such }}"),
    "result": "what a variable of this name said before",
}
RESULT: dict[str, Any] = {"changed": True, "resources": {"vpc": {"id": "vpc-1"}}}
TEMPLAR = Templar(loader=DataLoader(), variables={})


def test_a_variable_sees_the_result_of_its_task() -> None:
    assert afterwards.evaluate(TEMPLAR, VARIABLES, "summary", RESULT) == {"ids": "vpc-1", "plain": 1}


def test_a_summary_travels_as_statistics_beside_the_result() -> None:
    found = afterwards.summarized(TEMPLAR, VARIABLES, "summary", RESULT)
    stats = found.pop("ansible_stats")
    assert found == RESULT
    assert stats == {"data": {"summary": {"ids": "vpc-1", "plain": 1}}, "per_host": False, "aggregate": True}


def test_a_failed_task_and_one_without_a_name_have_no_summary() -> None:
    failed = {"failed": True, "msg": "no"}
    assert afterwards.summarized(TEMPLAR, VARIABLES, "summary", failed) is failed
    assert afterwards.summarized(TEMPLAR, VARIABLES, "", RESULT) is RESULT


def test_what_is_no_variable_is_named() -> None:
    with pytest.raises(AnsibleActionFail, match="no variable sumary"):
        afterwards.evaluate(TEMPLAR, VARIABLES, "sumary", RESULT)
    with pytest.raises(AnsibleError, match="no"):
        afterwards.evaluate(TEMPLAR, VARIABLES, "broken", RESULT)
