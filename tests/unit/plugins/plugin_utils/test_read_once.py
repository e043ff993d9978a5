"""A module that asks the same again gets the answer that it had, until it writes or waits."""

from __future__ import annotations

import sys
import time
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.read_once import ReadOnce

IAM = ("iam", "https://iam.amazonaws.com")
ROLE = {"RoleName": "trader"}


class Account:
    """Answers each call with its number."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> dict[str, Any]:
        self.asked += 1
        return {"Role": {"asked": self.asked}}


def test_the_same_question_is_asked_once() -> None:
    once, account = ReadOnce(), Account()
    answers = [once.ask(IAM, "GetRole", ROLE, account) for _time in range(3)]
    assert answers == [{"Role": {"asked": 1}}] * 3
    assert account.asked == 1


def test_what_a_module_does_to_an_answer_is_not_in_the_next_one() -> None:
    once, account = ReadOnce(), Account()
    for _time in range(2):
        once.ask(IAM, "GetRole", ROLE, account)["Role"].pop("asked")
    assert account.asked == 1


@pytest.mark.parametrize(
    ("where", "operation", "arguments"),
    [
        (IAM, "GetRole", {"RoleName": "other"}),
        (IAM, "GetUser", ROLE),
        (("iam", "https://elsewhere"), "GetRole", ROLE),
        (("ec2", IAM[1]), "GetRole", ROLE),
    ],
)
def test_another_question_is_another(where: tuple[str, str], operation: str, arguments: dict[str, str]) -> None:
    once, account = ReadOnce(), Account()
    once.ask(IAM, "GetRole", ROLE, account)
    once.ask(where, operation, arguments, account)
    assert account.asked == 2


def test_after_a_write_everything_is_asked_again_even_if_it_failed() -> None:
    def refused() -> None:
        raise RuntimeError("refused")

    once, account = ReadOnce(), Account()
    once.ask(IAM, "GetRole", ROLE, account)
    once.ask(IAM, "TagRole", ROLE, lambda: {})
    assert once.ask(IAM, "GetRole", ROLE, account) == {"Role": {"asked": 2}}
    with pytest.raises(RuntimeError):
        once.ask(IAM, "DeleteRole", ROLE, refused)
    assert once.ask(IAM, "GetRole", ROLE, account) == {"Role": {"asked": 3}}


def test_a_refusal_is_not_an_answer() -> None:
    def missing() -> None:
        raise LookupError("not yet")

    once, account = ReadOnce(), Account()
    with pytest.raises(LookupError):
        once.ask(IAM, "GetRole", ROLE, missing)
    assert once.ask(IAM, "GetRole", ROLE, account) == {"Role": {"asked": 1}}


def test_a_stream_is_not_kept() -> None:
    once, reads = ReadOnce(), []
    for _time in range(2):
        once.ask(("s3", "https://s3"), "GetObject", {"Key": "k"}, lambda: reads.append(1) or {"Body": object()})
    assert len(reads) == 2


@pytest.mark.parametrize("imported", [False, True])
def test_who_waits_asks_again(imported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.client import BaseClient

    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(BaseClient, "_make_api_call", lambda *call: None)
    waiter = ModuleType("ansible_collections.some.waiter")
    exec("from time import sleep", vars(waiter))
    monkeypatch.setitem(sys.modules, waiter.__name__, waiter)
    once, account = ReadOnce(), Account()
    once.install()
    once.ask(IAM, "GetRole", ROLE, account)
    (waiter if imported else time).sleep(1)
    once.ask(IAM, "GetRole", ROLE, account)
    assert account.asked == 2


def test_what_the_run_has_found_absent_is_not_asked_for_until_the_module_writes() -> None:
    import boto3
    from botocore.stub import Stubber

    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    session: Any = boto3.session.Session()
    client = session.client("iam", region_name="us-east-1", **keys)
    once = ReadOnce({"GetRole": "NoSuchEntity", "ListRolePolicies": {"PolicyNames": []}})
    with pytest.MonkeyPatch.context() as patched, Stubber(client) as aws:
        patched.setattr("botocore.client.BaseClient._make_api_call", type(client)._make_api_call)
        patched.setattr(time, "sleep", time.sleep)
        once.install()
        # AWS would refuse any call that is not expected here.
        with pytest.raises(client.exceptions.NoSuchEntityException, match="has found none"):
            client.get_role(RoleName="a")
        assert client.list_role_policies(RoleName="a") == {"PolicyNames": []}
        aws.add_response("delete_role", {})
        client.delete_role(RoleName="a")
        aws.add_client_error("get_role", "AccessDenied")
        with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
            client.get_role(RoleName="a")
        aws.assert_no_pending_responses()
