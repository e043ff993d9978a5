# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that does not fit is told at once; what somebody else's account holds is not told at all."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.account_checks import (
    account_problems,
    foreign,
    unmatched_adoptions,
)

VPC, GROUP, BUCKET = "amazon.aws.ec2_vpc_net", "amazon.aws.ec2_security_group", "amazon.aws.s3_bucket"
SETTINGS: dict[str, Any] = {
    "algo_project": "algo-trading",
    "algo_environment": "qa",
    "algo_region": "us-east-1",
    "algo_account_id": "1",
    "algo_adopt": [],
    "algo_model_bucket": "models",
    "algo_data_bucket": "data",
    "algo_artifact_bucket": "artifacts",
    "aws_network_zone_count": 2,
    "aws_trading_server_model_owner": "1",
}
ACCOUNT: dict[str, Any] = {
    "account_id": "1",
    "caller_arn": "arn:aws:iam::1:user/deploy",
    "unknown_instance_types": [],
    "images": {"host": {"id": "ami-1"}},
    "zones": ["us-east-1a", "us-east-1b"],
    "resources": {BUCKET: {}, VPC: {}},
}
ELSEWHERE = {"ours": False, "attributes": {}, "note": "it belongs to another account"}


def thing(identifier: str, ours: bool = True) -> dict[str, Any]:
    return {"ours": ours, "attributes": {"id": identifier}}


def found(account: dict[str, Any], settings: dict[str, Any] | None = None, removal: bool = False) -> str:
    return "\n".join(account_problems(ACCOUNT | account, SETTINGS | (settings or {}), [] if removal else ["network"]))


def test_nothing_is_wrong_with_an_account_that_fits() -> None:
    assert found({}) == ""


def test_everything_wrong_is_told_at_once() -> None:
    account = {
        "unknown_instance_types": ["t9z.large"],
        "images": {"host": {"error": "image ami-2 does not exist in this region"}, "gpu": {"id": "ami-1"}},
        "zones": ["us-east-1a"],
        "resources": {BUCKET: {"data": ELSEWHERE}, VPC: {"algo-trading-network-qa": thing("vpc-1", ours=False)}},
    }
    problems = account_problems(ACCOUNT | account, SETTINGS | {"algo_adopt": ["gpu"]}, ["network"])
    assert problems == [
        "These instance types are not offered in us-east-1: t9z.large. Correct the settings.",
        "Machine images: image ami-2 does not exist in this region. Correct algo_release.images in release.yml.",
        "Buckets that cannot be used: data: it belongs to another account. Bucket names are globally unique: choose "
        "other names in the settings. The model bucket may belong to another account if aws_trading_server_model_owner "
        "is set to its id.",
        "These resources have names of qa but not its tags: VPC algo-trading-network-qa. Remove or rename them. To "
        "adopt them, name them in algo_adopt, or add the tags Project=algo-trading, Environment=qa, "
        "ManagedBy=algo.trading.",
        "aws_network_zone_count is 2, but us-east-1 has only us-east-1a. Set a smaller number.",
        "algo_adopt matches nothing: gpu does not exist. Correct algo_adopt. It takes resource names as a plan shows "
        "them; trading servers cannot be adopted.",
    ]


def test_what_another_account_holds_is_not_told() -> None:
    account = {"account_id": "2", "unknown_instance_types": ["t9z.large"], "zones": []}
    assert found(account) == (
        "The credentials belong to account 2 (arn:aws:iam::1:user/deploy), but qa uses account 1. Use credentials of "
        "that account, or correct algo_account_id."
    )


def test_a_removal_creates_and_adopts_nothing() -> None:
    assert found({"zones": []}, {"algo_adopt": ["gpu"]}, removal=True) == ""


def test_a_removal_needs_no_bucket_of_another_account() -> None:
    unreadable = {**ELSEWHERE, "note": "these credentials may not read it (s3:ListBucket)"}
    assert found({"resources": {BUCKET: {"data": ELSEWHERE, "models": ELSEWHERE}}}, removal=True) == ""
    assert "data" in found({"resources": {BUCKET: {"data": unreadable}}}, removal=True)


def test_the_models_may_be_another_accounts() -> None:
    account = {"resources": {BUCKET: {"models": ELSEWHERE}}}
    assert "models: it belongs to another account" in found(account)
    assert found(account, {"aws_trading_server_model_owner": "2"}) == ""
    assert "data" in found({"resources": {BUCKET: {"data": ELSEWHERE}}}, {"aws_trading_server_model_owner": "2"})


@pytest.mark.parametrize("adopted", [[], ["net"]])
def test_what_is_not_ours_is_named_with_its_kind(adopted: list[str]) -> None:
    state = {VPC: {"net": thing("vpc-1", ours=False)}, GROUP: {"a": thing("sg-1"), "b": thing("sg-2", ours=False)}}
    assert foreign(state, adopted) == [*([] if adopted else ["VPC net"]), "security group b"]


def test_a_part_of_an_adopted_thing_is_adopted_with_it() -> None:
    state = {VPC: {"bucket": thing("b", ours=False), "bucket/rule": {**thing("r", ours=False), "owner": "bucket"}}}
    assert foreign(state) == ["VPC bucket", "VPC bucket/rule"]
    assert foreign(state, adopted=["bucket"]) == []


def test_a_name_to_adopt_that_nothing_has_is_reported_with_the_names_that_come_near() -> None:
    state = {VPC: {"algo-trading-network-qa": thing("vpc-1", ours=False)}, GROUP: {"hosts": thing("sg-1")}}
    assert unmatched_adoptions(state, ["algo-trading-network-qa", "hosts", "a-bucket"], ["a-bucket"]) == []
    assert unmatched_adoptions(state, ["algo-trading-netwrok-qa", "zzz"]) == [
        "algo-trading-netwrok-qa does not exist. Did you mean algo-trading-network-qa?",
        "zzz does not exist.",
    ]
