"""SSM documents: what counts as the same content, and which mistakes are found before anything is called."""

from __future__ import annotations

import json

import pytest
from ansible_collections.algo.trading.plugins.module_utils._aws import meaning
from ansible_collections.algo.trading.plugins.module_utils.ssm_document import (
    content_problem,
    document_text,
)

CONTENT = {"schemaVersion": "2.2", "mainSteps": []}


def test_neither_blanks_nor_order_are_a_difference() -> None:
    assert meaning('{"mainSteps": [],\n "schemaVersion": "2.2"}') == CONTENT == meaning(CONTENT)


def test_yaml_stays_text() -> None:
    assert meaning("schemaVersion: '2.2'") == "schemaVersion: '2.2'"


@pytest.mark.parametrize("content", ["no json", "[]", "{}", {"mainSteps": []}])
def test_a_content_that_is_no_document_is_found(content: object) -> None:
    assert content_problem(content)


def test_a_document_is_found_right_and_sent_readable() -> None:
    assert content_problem(CONTENT) is None
    assert json.loads(document_text(CONTENT)) == CONTENT
    assert "\n" in document_text(CONTENT)
