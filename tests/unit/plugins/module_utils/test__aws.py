# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._aws import Reading, snake, unless_missing
from ansible_collections.algo.trading.plugins.module_utils._errors import error_code


class Refusal(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


def test_a_missing_thing_is_none_and_any_other_refusal_an_error() -> None:
    def call(code: str) -> Any:
        raise Refusal(code)

    assert unless_missing(call, "NotThere", code="NotThere") is None
    with pytest.raises(Refusal):
        unless_missing(call, "NotThere", code="AccessDenied")
    assert error_code(ValueError("x")) == ""


def test_names_of_aws_become_ours() -> None:
    names = ("HttpTokens", "BlockPublicAcls", "Name")
    assert [snake(name) for name in names] == ["http_tokens", "block_public_acls", "name"]


def test_what_two_kinds_need_is_asked_once_in_a_reading_also_by_threads() -> None:
    asked: list[str] = []
    both_wait = Event()

    def ask(answer: str) -> str:
        asked.append(answer)
        both_wait.wait(5)
        return answer

    reading = Reading(lambda service: f"client of {service}")
    assert reading("ec2") == "client of ec2"
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(reading.once, "groups", partial(ask, name)) for name in ("first", "second")]
        both_wait.set()
        assert {answer.result() for answer in answers} == set(asked)
    assert len(asked) == 1
    assert reading.once("zones", lambda: ask("zone")) == "zone"
    assert Reading(lambda service: None).once("groups", lambda: "of another reading") == "of another reading"


def test_an_error_is_no_answer() -> None:
    reading = Reading(lambda service: None)

    def refuse() -> None:
        raise Refusal("Throttling")

    with pytest.raises(Refusal):
        reading.once("groups", refuse)
    assert reading.once("groups", lambda: "asked again") == "asked again"
