"""Each kind of thing says which of AWS's words mean usable, on its way, stopped; all others are unhealthy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES, to_verify, unhealthy, unsettled

DATABASE, NAT, INSTANCE = "amazon.aws.rds_instance", "amazon.aws.ec2_vpc_nat_gateway", "amazon.aws.ec2_instance"


def state(module: str, word: str | None, ours: bool = True) -> dict[str, Any]:
    return {module: {"x": {"ours": ours, "attributes": {"state": word}, "settings": {}, "tags": {}}}}


@pytest.mark.parametrize(
    ("module", "word", "healthy", "settled"),
    [
        (DATABASE, "available", True, True),
        (DATABASE, "storage-optimization", True, True),
        (DATABASE, "backing-up", True, True),
        (DATABASE, "modifying", True, True),
        (DATABASE, "creating", True, False),
        (DATABASE, "stopped", True, False),
        (DATABASE, "storage-full", False, True),
        (DATABASE, "incompatible-network", False, True),
        (DATABASE, "inaccessible-encryption-credentials-recoverable", False, True),
        (DATABASE, "restore-error", False, True),
        (NAT, "pending", True, False),
        (NAT, "failed", False, True),
        ("amazon.aws.ec2_vpc_endpoint", "Available", True, True),
        ("amazon.aws.ec2_vpc_endpoint", "Rejected", False, True),
        ("amazon.aws.ec2_vpc_endpoint", "Partial", False, True),
        ("amazon.aws.lambda", "Inactive", True, True),
        ("amazon.aws.lambda", "Failed", False, True),
        ("amazon.aws.lambda", "update failed", False, True),
        ("amazon.aws.lambda", "updating", True, False),
        ("amazon.aws.rds_subnet_group", "Complete", True, True),
        (INSTANCE, "stopped", True, True),
        (INSTANCE, "pending", True, False),
        ("amazon.aws.ec2_vpc_net", "available", True, True),
        ("algo.trading.ssm_document", "Failed", False, True),
        (DATABASE, None, True, True),
        ("amazon.aws.sqs_none", "whatever", True, True),
    ],
)
def test_a_state_means_what_its_kind_says(module: str, word: str | None, healthy: bool, settled: bool) -> None:
    module = module if module in TYPES else "community.aws.sqs_queue"
    found = state(module, word)
    assert (unhealthy(found) == [], unsettled(found) == []) == (healthy, settled)
    assert unhealthy(state(module, word, ours=False)) == []


def test_a_stopped_database_is_reported_with_how_to_start_it() -> None:
    assert "aws rds start-db-instance --db-instance-identifier x" in unsettled(state(DATABASE, "stopped"))[0]


def test_a_state_means_one_thing_only() -> None:
    for kind in TYPES.values():
        if kind.states:
            parts = (kind.states.healthy, kind.states.transitional, kind.states.stopped)
            assert sum(map(len, parts)) == len(frozenset.union(*parts))
            assert all(word == word.lower() for part in parts for word in part)
            assert bool(kind.states.stopped) == bool(kind.states.start)


@pytest.mark.parametrize(
    ("word", "changed", "modules"),
    [
        ("available", set(), []),
        ("available", {DATABASE}, [DATABASE]),
        ("available", {NAT}, [NAT]),
        ("available", {"amazon.aws.iam_role"}, []),
        ("creating", set(), [DATABASE]),
        ("stopped", set(), [DATABASE]),
        ("storage-full", {NAT}, [NAT, DATABASE]),
    ],
)
def test_only_what_was_changed_or_not_healthy_is_read_again(word: str, changed: set[str], modules: list[str]) -> None:
    assert to_verify(state(DATABASE, word), changed) == sorted(modules)


def test_resources_that_have_a_state_carry_their_own_tags() -> None:
    """One without would be ours by its owner, which is of another type and may not be read again with it."""
    assert [kind.module for kind in TYPES.values() if kind.states and not (kind.tagged or kind.separate_tags)] == []
