"""Modules run in this process or a fork of it answer as in a process of their own, and leave this one as it was."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils import warm_module

from .conftest import Aws

INTERNAL = {
    "_ansible_check_mode": False,
    "_ansible_no_log": False,
    "_ansible_remote_tmp": "/tmp",
    "_ansible_tmpdir": None,
    "_ansible_keep_remote_files": False,
    "_ansible_shell_executable": "/bin/sh",
}


@pytest.fixture(params=["here", "in a child"])
def run(request: pytest.FixtureRequest, aws: Aws) -> Any:
    """Runs a module with these arguments, in an account without anything."""
    aws.reset()
    connection = {"region": aws.region, "endpoint_url": aws.endpoint, "access_key": "testing", "secret_key": "testing"}
    meanwhile = (lambda: None) if request.param == "in a child" else None

    def run(module: str, environment: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
        call = warm_module.Call(module, {**INTERNAL, **connection, **arguments}, environment or {})
        return warm_module.run(call, meanwhile)

    return run


def test_a_module_acts_and_answers(aws: Aws, run: Any) -> None:
    result = run("amazon.aws.ec2_vpc_net", name="warm", cidr_block=["10.9.0.0/16"], tags={"Name": "warm"})
    assert result["changed"] is True
    found = aws.client("ec2").describe_vpcs(VpcIds=[result["vpc"]["id"]])["Vpcs"]
    assert [vpc["CidrBlock"] for vpc in found] == ["10.9.0.0/16"]


def test_the_same_again_changes_nothing(run: Any) -> None:
    group = {"name": "warm-twice", "description": "Twice", "rules": [], "tags": {"Name": "warm-twice"}}
    assert [run("amazon.aws.ec2_security_group", **group)["changed"] for _time in range(2)] == [True, False]


def test_our_own_modules_run_the_same_way(run: Any) -> None:
    result = run("algo.trading.scheduler_schedule_group", name="warm")
    assert result["changed"] is True


def test_wrong_arguments_are_the_modules_own_answer(run: Any) -> None:
    result = run("amazon.aws.iam_role", nonsense=1)
    assert result["failed"] is True
    assert "required" in result["msg"] or "Unsupported" in result["msg"]


def test_a_module_that_does_not_exist_is_named(run: Any) -> None:
    result = run("amazon.aws.no_such_module")
    assert result["failed"] is True
    assert "no_such_module" in result["msg"]


def test_a_refusal_of_aws_is_handed_on(run: Any) -> None:
    result = run("amazon.aws.ec2_vpc_subnet", vpc_id="vpc-00000000", cidr="10.9.0.0/24", state="present")
    assert result["failed"] is True
    assert "vpc-00000000" in result["msg"]


@pytest.mark.parametrize("module", ["amazon.aws.iam_role", "amazon.aws.no_such_module"])
def test_the_calling_process_keeps_its_arguments_and_environment(run: Any, module: str) -> None:
    from ansible.module_utils import basic

    before = (os.getpid(), dict(os.environ), basic._ANSIBLE_ARGS)
    run(module, {"ALGO_ONLY_FOR_THE_MODULE": "1"})
    assert (os.getpid(), dict(os.environ), basic._ANSIBLE_ARGS) == before


def test_sessions_share_the_models_of_services() -> None:
    import boto3

    def model(session: Any) -> Any:
        return session._session.get_component("data_loader").load_service_model("sts", "service-2")

    one, other = (boto3.session.Session(region_name="us-east-1") for _time in range(2))
    assert model(one) is model(other)
