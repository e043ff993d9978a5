"""One reading of an environment, and the order in which it can be taken down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils import resources
from ansible_collections.algo.trading.plugins.module_utils._aws import Reading
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import (
    TYPES,
    Found,
    ResourceType,
    read_environment,
    teardown_order,
)

SCOPE = Scope("algo-trading", "qa")
OURS = SCOPE.tags("mlflow_server")
OTHERS = {**OURS, "Environment": "prod"}


def kind(module: str, *things: Found) -> ResourceType:
    def read(clients: Any, scope: Scope) -> Iterable[Found]:
        return iter(things)

    return ResourceType(module=module, title=module.rpartition(".")[2], read=read)


def test_tags_decide_whose_things_are_and_parts_belong_to_their_whole() -> None:
    state = read_environment(
        Reading(lambda service: None),
        SCOPE,
        [
            kind(
                "a.b.part", Found("ours/1", owner="ours"), Found("theirs/1", owner="theirs"), Found("lost", owner="?")
            ),
            kind("a.b.whole", Found("ours", tags=OURS), Found("theirs", tags=OTHERS), Found("nobody's", tags={})),
        ],
    )
    whose = {name: thing["ours"] for things in state.values() for name, thing in things.items()}
    assert whose == {
        "ours/1": True,
        "theirs/1": False,
        "lost": False,
        "ours": True,
        "theirs": False,
        "nobody's": False,
    }
    assert state["a.b.part"]["ours/1"]["component"] == "mlflow_server"


def test_a_reading_that_is_refused_is_not_taken_for_an_empty_account() -> None:
    def read(clients: Any, scope: Scope) -> Iterable[Found]:
        raise PermissionError("describe it")

    refused = ResourceType(module="a.b.c", title="c", read=read)
    with pytest.raises(PermissionError, match="describe it"):
        read_environment(Reading(lambda service: None), SCOPE, [refused])


def thing(ours: bool = True, pending_deletion: str = "", **settings: Any) -> dict[str, Any]:
    found = {"ours": ours, "component": "network", "settings": settings, "attributes": {"id": "sg-1"}, "tags": {}}
    return {**found, "pending_deletion": pending_deletion} if pending_deletion else found


def test_teardown_takes_what_uses_things_before_the_things_used() -> None:
    state = {
        "amazon.aws.ec2_vpc_net": {"vpc": thing()},
        "amazon.aws.ec2_vpc_subnet": {"subnet": thing()},
        "amazon.aws.rds_subnet_group": {"group": thing()},
        "amazon.aws.rds_instance": {"db": thing(), "leaving": thing(pending_deletion="being deleted")},
        "amazon.aws.ec2_instance": {"host": thing(), "foreign": thing(ours=False)},
        "amazon.aws.s3_bucket": {"bucket": thing()},
        "community.aws.s3_lifecycle": {"bucket/rule": thing()},
    }
    order = [entry["name"] for entry in teardown_order(state)]
    assert sorted(order) == ["bucket", "bucket/rule", "db", "group", "host", "subnet", "vpc"]
    for first, then in (("db", "group"), ("host", "subnet"), ("group", "subnet"), ("subnet", "vpc")):
        assert order.index(first) < order.index(then)
    assert order.index("bucket/rule") < order.index("bucket")


@pytest.mark.parametrize("module", sorted(TYPES))
def test_a_type_is_consistent(module: str) -> None:
    kind = TYPES[module]
    assert kind.module == module
    assert module.count(".") == 2
    assert kind.title
    assert 0 < kind.destroy_order < 100
    # What only steers the module is not compared, so it can't be what AWS cannot change.
    assert not kind.force_new & kind.steering
    assert kind.protection is None or kind.protection not in kind.steering


def test_everything_public_is_there() -> None:
    assert [name for name in resources.__all__ if not hasattr(resources, name)] == []
