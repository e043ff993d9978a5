# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils._policies import by_sid
from ansible_collections.algo.trading.plugins.module_utils.resources import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.identity import (
    POLICY,
    ROLE,
    policy_key,
    role_names,
)


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


READ = {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}
LIST = {"Sid": "List", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::a"}


def test_an_environment_can_have_ten_roles_and_each_name_carries_it() -> None:
    names = role_names(Scope("algo-trading", "qa"))
    assert len(names) == len(set(names)) == 10
    assert all("-qa" in name for name in names)
    assert "algo-trading-trading-server-shutdown-qa-scheduler" in names


def test_a_roles_own_policy_is_called_like_the_role_and_anybody_elses_is_told_apart() -> None:
    assert policy_key("role", "role") == "role"
    assert policy_key("role", "backdoor") == "role/backdoor"


def test_a_widened_statement_is_named_in_the_reason() -> None:
    wanted = {"iam_type": "role", "iam_name": "r", "policy_name": "r", "policy_json": document(READ, LIST)}
    there = {**wanted, "policy_json": by_sid(document(LIST, {**READ, "Resource": "*"}))}
    decision = decide(POLICY, wanted, {"ours": True, "settings": there, "attributes": {}, "tags": None})
    assert decision.action == "update"
    assert len(decision.reasons) == 1
    assert decision.reasons[0].startswith("policy_json.Read: ")


def test_no_boundary_is_left_out_when_a_role_is_made_and_spelled_out_when_one_is_taken_off() -> None:
    assert ROLE.extra_arguments({"boundary": ""}, None)["boundary"] is None
    assert "boundary" not in ROLE.extra_arguments(
        {"boundary": ""}, {"settings": {"boundary": "arn:aws:iam::aws:policy/x"}}
    )
    assert "boundary" not in ROLE.extra_arguments({"boundary": "arn:aws:iam::aws:policy/x"}, None)
