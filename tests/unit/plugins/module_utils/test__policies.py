# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._policies import by_sid, normalize_policy


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


READ = {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}
LIST = {"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::a"}


def test_the_order_of_statements_means_nothing() -> None:
    assert by_sid(document(READ, LIST)) == by_sid(document(LIST, READ))
    assert by_sid(document(READ)) != by_sid(document({**READ, "Resource": "*"}))


def test_a_document_without_an_id_for_each_statement_is_compared_as_it_is() -> None:
    anonymous = {key: value for key, value in READ.items() if key != "Sid"}
    for odd in (document(anonymous), document(READ, READ), {"Version": "2012-10-17", "Statement": READ}, ""):
        assert by_sid(odd) == odd


DENY = {"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": ["s3:*"], "Resource": ["arn:b", "arn:a"]}


def test_a_policy_is_the_same_in_any_order_as_text_and_with_lists_of_one() -> None:
    other = {**DENY, "Action": "s3:*", "Resource": ["arn:a", "arn:b"]}
    wanted = {"Version": "2012-10-17", "Statement": [DENY, {"Sid": "B", "Effect": "Allow"}]}
    actual = {"Statement": [{"Sid": "B", "Effect": "Allow"}, other], "Version": "2012-10-17"}
    assert normalize_policy(wanted) == normalize_policy(json.dumps(actual))
    assert normalize_policy(wanted) != normalize_policy({**actual, "Statement": [other]})


@pytest.mark.parametrize("nothing", ["", {}, "{}"])
def test_no_policy_is_an_empty_one(nothing: Any) -> None:
    assert normalize_policy(nothing) == {}
