# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._aws import snake, unless_missing
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
