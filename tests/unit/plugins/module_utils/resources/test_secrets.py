"""A secret is known by its name and tags; what it holds is neither read nor written after the first day."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import secrets
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide

SCOPE = Scope("algo-trading", "qa")


class Missing(Exception):
    response = {"Error": {"Code": "ResourceNotFoundException"}}  # noqa: RUF012 - as botocore has it


class SecretsManager:
    """Has no way to read a value: a reading that tried would fail here."""

    def __init__(self, **secret: Any) -> None:
        self._secret = secret

    def describe_secret(self, SecretId: str) -> dict[str, Any]:
        if SecretId != "algo-trading-alpaca-websocket-qa":
            raise Missing
        return {"ARN": "arn:secret", "VersionIdsToStages": {"a": ["AWSCURRENT"]}, "Tags": [], **self._secret}


def read(**secret: Any) -> dict[str, dict[str, Any]]:
    manager = SecretsManager(**secret)
    return {found.key: found.as_dict(ours=True) for found in secrets.SECRET.read(lambda service: manager, SCOPE)}


def test_a_secret_tells_whether_anybody_has_put_a_value_in() -> None:
    name = "algo-trading-alpaca-websocket-qa"
    assert list(read()) == [name]
    assert read()[name]["attributes"]["untouched"]
    assert not read(VersionIdsToStages={"a": ["AWSPREVIOUS"], "b": ["AWSCURRENT"]})[name]["attributes"]["untouched"]


def test_a_secret_that_is_scheduled_for_deletion_is_restored() -> None:
    (found,) = read(DeletedDate="2026-03-04").values()
    assert decide(secrets.SECRET, {"tags": {}}, found).action == "update"
    assert decide(secrets.SECRET, None, found).action == "no-op"


def test_an_existing_value_is_never_overwritten() -> None:
    (found,) = read().values()
    assert secrets.SECRET.extra_arguments({}, found) == {"overwrite": False}
    assert secrets.SECRET.extra_arguments({}, None) == {}
    assert decide(secrets.SECRET, {"kms_key_id": "other"}, found).action == "refuse"


def test_the_arn_is_found_under_either_of_the_modules_names_for_it() -> None:
    for name in ("ARN", "arn"):
        assert secrets.SECRET.attributes({"secret": {name: "arn:secret"}}, {}) == {"arn": "arn:secret"}
