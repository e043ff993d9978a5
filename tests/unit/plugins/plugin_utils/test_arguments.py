"""Arguments are checked against the module that will act, and against what a reading can compare."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources import STEERING, TYPES, UNKNOWN, ResourceType
from ansible_collections.algo.trading.plugins.plugin_utils.arguments import argument_spec, problems

BUCKET = TYPES["amazon.aws.s3_bucket"]
INSTANCE = TYPES["amazon.aws.ec2_instance"]


@pytest.mark.parametrize("module", sorted(TYPES))
def test_every_type_knows_its_modules_arguments(module: str) -> None:
    kind, spec = TYPES[module], argument_spec(module)
    declared = kind.compared | kind.create_only | kind.steering
    assert declared - spec.keys() <= ({"tags"} if kind.separate_tags else set())
    assert not kind.compared & (kind.create_only | kind.steering | STEERING)
    assert kind.force_new | kind.unordered <= kind.compared
    if kind.name_argument:
        assert kind.name_argument in kind.compared


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"versionning": True}, "versionning is not an argument of amazon.aws.s3_bucket. Did you mean versioning?"),
        ({"public_access": {"block_public_acl": True}}, "public_access.block_public_acl is not an argument"),
        ({"versioning": "perhaps"}, "'versioning' is of type str and we were unable to convert to bool"),
        ({"encryption": "AES512"}, "value of encryption must be one of: none, AES256, aws:kms, got: AES512"),
        ({"requester_pays": True}, "requester_pays cannot be compared"),
        ({"name": None}, "missing required arguments: name"),
    ],
)
def test_what_the_module_or_a_reading_cannot_take_is_named(settings: dict[str, Any], expected: str) -> None:
    given = {name: value for name, value in ({"name": "b"} | settings).items() if value is not None}
    found = problems(BUCKET, given, {})
    assert len(found) == 1
    assert expected in found[0]


RULE, TABLE = TYPES["community.aws.s3_lifecycle"], TYPES["amazon.aws.ec2_vpc_route_table"]


def disk(**ebs: Any) -> dict[str, Any]:
    return {"volumes": [{"device_name": "/dev/xvda", "ebs": {"volume_size": 8, **ebs}}]}


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        (INSTANCE, disk(volume_tpye="gp3"), "volumes.ebs.volume_tpye is not one of"),
        (INSTANCE, disk(iops=3000), "volumes.ebs.iops is not one of"),
        (INSTANCE, disk(volume_size="big"), "unable to convert to int"),
        (INSTANCE, {"volumes": [{"device": "/dev/xvda"}]}, "Did you mean device_name?"),
        (RULE, {"name": "b", "transitions": [{"transition_day": 3}]}, "Did you mean transition_days?"),
        (TABLE, {"vpc_id": "vpc-1", "routes": [{"destination": "::/0"}]}, "routes.destination is not one of"),
    ],
)
def test_what_stands_in_a_free_dictionary_is_compared_or_refused(
    kind: ResourceType, settings: dict[str, Any], expected: str
) -> None:
    found = problems(kind, settings, {})
    assert len(found) == 1, found
    assert expected in found[0]


def test_what_is_passed_once_may_hold_whatever_the_module_takes() -> None:
    assert problems(INSTANCE, {}, disk(iops=3000)) == []


def test_what_counts_only_when_it_is_made_need_not_be_compared() -> None:
    assert problems(BUCKET, {"name": "b"}, {"requester_pays": True}) == []
    assert "Did you mean" in problems(BUCKET, {"name": "b"}, {"requester_pay": True})[0]


def test_what_is_known_only_later_fits_everywhere() -> None:
    volumes = [{"device_name": "/dev/xvda", "ebs": {"volume_size": UNKNOWN, "volume_type": UNKNOWN}}]
    assert problems(INSTANCE, {"security_groups": [UNKNOWN], "vpc_subnet_id": UNKNOWN, "volumes": volumes}, {}) == []


def test_a_module_that_is_not_installed_is_named() -> None:
    with pytest.raises(LookupError, match=r"the module amazon\.aws\.no_such is not installed"):
        argument_spec("amazon.aws.no_such")


def test_an_alias_is_refused_since_no_reading_has_it() -> None:
    assert problems(INSTANCE, {"subnet_id": "subnet-1"}, {}) == [
        "subnet_id is an alias in amazon.aws.ec2_instance. Use vpc_subnet_id."
    ]
