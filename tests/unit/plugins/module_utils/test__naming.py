# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names, tags and ownership: what is an environment's own, and what only looks like it."""

from __future__ import annotations

import pytest
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope, arn

SCOPE = Scope("algo-trading", "qa")
OURS = {"Project": "algo-trading", "Environment": "qa", "ManagedBy": "algo.trading"}


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


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_arns_carry_the_regions_partition(region: str, partition: str) -> None:
    assert arn("s3", "b", region=region) == f"arn:{partition}:s3:::b"
