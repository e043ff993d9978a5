"""The environment's lock against the embedded AWS, between real runs of ansible-playbook."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils import _process as process
from ansible_collections.algo.trading.plugins.module_utils.lock import AnsibleLockError, Holder, LockStore
from ansible_collections.algo.trading.plugins.modules.environment_lock import LockTask
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry, RetryingBotoClientWrapper

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws, Tasks

NAME = "/algo-trading/qa/lock"
OPTIONS = {"name": NAME, "purpose": "site.yml", "expires_in": 3600, "lock_id": None}


def lock(**given: Any) -> dict[str, Any]:
    return {"algo.trading.environment_lock": {"name": NAME, "purpose": "site.yml", **given}}


def in_ssm(aws: Aws) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(aws.client("ssm").get_parameter(Name=NAME)["Parameter"]["Value"])
    return found


def put(aws: Aws, content: dict[str, Any]) -> None:
    aws.client("ssm").put_parameter(Name=NAME, Value=json.dumps(content), Type="String", Overwrite=True)


def nothing_is_left(aws: Aws) -> bool:
    return not aws.client("ssm").describe_parameters()["Parameters"]


@pytest.fixture
def living() -> Iterator[list[Holder]]:
    """Eight runs on this machine that are alive."""
    with ExitStack() as stack:
        holders = []
        for number in range(8):
            waits = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            child = stack.enter_context(waits)
            assert child.stdin
            stack.callback(child.stdin.close)
            seen = process.look_up(child.pid)
            assert seen
            name = f"run-{number}@here"
            holders.append(Holder(name, process.machine(), process.boot_id(), child.pid, seen.started))
        yield holders


def task(aws: Aws, me: Holder, check_mode: bool = False, **options: Any) -> LockTask:
    client = RetryingBotoClientWrapper(aws.client("ssm"), AWSRetry.jittered_backoff(retries=2))
    return LockTask(LockStore(client, NAME, {"Project": "algo-trading"}), me, {**OPTIONS, **options}, check_mode)


def test_a_run_takes_keeps_and_gives_back_the_lock_without_counting_as_a_change(fresh_aws: Aws, tasks: Tasks) -> None:
    planned, taken, again, back, nothing = tasks(
        {**lock(), "check_mode": True},
        lock(tags={"Project": "algo-trading", "Environment": "qa"}),
        lock(),
        lock(state="absent"),
        lock(state="absent"),
    )
    assert (planned["acquired"], planned["lock"]) == (False, {})
    assert (taken["acquired"], again["acquired"]) == (True, True)
    assert again["lock"] == taken["lock"]
    assert taken["lock"]["purpose"] == "site.yml"
    assert (back["released"], nothing["released"]) == (True, False)
    assert not any(step["changed"] for step in (planned, taken, again, back, nothing))
    assert nothing_is_left(fresh_aws)
    assert fresh_aws.count(write=True, service="ssm") == {"ssm:PutParameter": 2, "ssm:DeleteParameter": 1}


def test_the_parameter_is_tagged(fresh_aws: Aws, tasks: Tasks) -> None:
    tasks(lock(tags={"Project": "algo-trading", "Environment": "qa"}))
    found = fresh_aws.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=NAME)["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in found} == {"Project": "algo-trading", "Environment": "qa"}


def test_a_lock_left_by_a_run_that_ended_is_taken_over(fresh_aws: Aws, tasks: Tasks) -> None:
    (left,) = tasks(lock())
    (taken,) = tasks(lock())
    assert taken["acquired"]
    assert taken["taken_over"] == left["lock"]
    assert any("Took over" in warning and "no longer runs" in warning for warning in taken["warnings"])
    assert in_ssm(fresh_aws)["lock_id"] == taken["lock"]["lock_id"]


def test_a_lock_of_another_machine_holds_until_it_is_broken_by_its_id(fresh_aws: Aws, tasks: Tasks) -> None:
    (mine,) = tasks(lock())
    put(fresh_aws, {**mine["lock"], "machine": "elsewhere", "holder": "you@elsewhere"})
    fresh_aws.forget_calls()
    refused, planned, kept, wrong = tasks(
        lock(),
        {**lock(), "check_mode": True},
        lock(state="absent"),
        lock(state="absent", lock_id="another"),
    )
    unlock = f"playbooks/unlock.yml -e algo_lock_id={mine['lock']['lock_id']}"
    for step in (refused, kept, wrong):
        assert step["failed"]
        assert "you@elsewhere" in step["msg"]
        assert unlock in step["msg"]
    assert "not another" in wrong["msg"]
    assert not planned["acquired"]
    assert any(unlock in warning for warning in planned["warnings"])
    # The one attempt to create it, nothing else.
    assert fresh_aws.count(write=True, service="ssm") == {"ssm:PutParameter": 1}

    (broken,) = tasks(lock(state="absent", lock_id=mine["lock"]["lock_id"]))
    assert broken["released"]
    assert broken["taken_over"]["holder"] == "you@elsewhere"
    assert nothing_is_left(fresh_aws)


def test_an_expired_lock_of_another_machine_is_taken_over(fresh_aws: Aws, tasks: Tasks) -> None:
    (mine,) = tasks(lock())
    put(fresh_aws, {**mine["lock"], "machine": "elsewhere", "expires": "2020-01-01T00:00:00+00:00"})
    (taken,) = tasks(lock())
    assert taken["acquired"]
    assert "it expired at 2020-01-01" in taken["warnings"][0]


def test_a_lock_that_can_not_be_read_is_respected(fresh_aws: Aws, tasks: Tasks) -> None:
    fresh_aws.client("ssm").put_parameter(Name=NAME, Value="what is this", Type="String")
    refused, broken = tasks(lock(), lock(state="absent", lock_id="unreadable-1"))
    assert "algo_lock_id=unreadable-1" in refused["msg"]
    assert broken["released"]


def _try(aws: Aws, me: Holder) -> dict[str, Any] | None:
    try:
        return task(aws, me).acquire()
    except AnsibleLockError:
        return None


@pytest.mark.parametrize("dead_lock", [False, True])
def test_of_many_at_once_exactly_one_gets_it(fresh_aws: Aws, living: list[Holder], dead_lock: bool) -> None:
    for _round in range(5):
        if dead_lock:
            gone = Holder("gone@here", process.machine(), process.boot_id(), 2**22 - 1, "1")
            task(fresh_aws, gone).acquire()
        with ThreadPoolExecutor(len(living)) as pool:
            results = list(pool.map(lambda me: _try(fresh_aws, me), living))
        winners = [result for result in results if result]
        assert len(winners) == 1
        assert in_ssm(fresh_aws)["lock_id"] == winners[0]["lock"]["lock_id"]
        owner = next(me for me in living if me.pid == winners[0]["lock"]["pid"])
        assert task(fresh_aws, owner).release()["released"]
        assert nothing_is_left(fresh_aws)


def test_a_takeover_never_removes_a_lock_taken_meanwhile(fresh_aws: Aws, living: list[Holder]) -> None:
    gone = Holder("gone@here", process.machine(), process.boot_id(), 2**22 - 1, "1")
    old = task(fresh_aws, gone)
    old.acquire()
    client = RetryingBotoClientWrapper(fresh_aws.client("ssm"), AWSRetry.jittered_backoff(retries=2))
    slow = LockStore(client, NAME)
    seen = slow.read().lock
    assert seen
    # While the slow one thinks about the dead lock it saw, a quick one takes it over.
    quick = task(fresh_aws, living[0]).acquire()
    assert slow.break_lock(seen) is False
    assert in_ssm(fresh_aws)["lock_id"] == quick["lock"]["lock_id"]


def test_a_takeover_that_died_half_way_does_not_block_for_long(fresh_aws: Aws, living: list[Holder]) -> None:
    gone = Holder("gone@here", process.machine(), process.boot_id(), 2**22 - 1, "1")
    task(fresh_aws, gone).acquire()
    fresh_aws.client("ssm").put_parameter(Name=f"{NAME}-takeover", Value="{}", Type="String")
    with pytest.raises(AnsibleLockError, match="Try again in a minute"):
        task(fresh_aws, living[0]).acquire()


def test_denied_access_names_the_parameter(tasks: Tasks) -> None:
    (refused,) = tasks(
        {"algo.trading.environment_lock": {"name": NAME, "endpoint_url": "http://127.0.0.1:9", "aws_config": {}}}
    )
    assert refused["failed"]
    assert f"write {NAME}" in refused["msg"]


def test_two_runs_of_a_playbook_do_not_hold_the_lock_at_once(fresh_aws: Aws, tasks: Tasks, tmp_path: Path) -> None:
    # The first run is still in its play: it is the very process that runs the second.
    inner = tmp_path / "inner.yml"
    connection = {"endpoint_url": fresh_aws.endpoint, "region": fresh_aws.region}
    inner_task = {"name": "Take", "algo.trading.environment_lock": {"name": NAME, **connection}}
    inner.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [inner_task]}]))
    program = str(Path(sys.executable).parent / "ansible-playbook")
    taken, second = tasks(
        lock(),
        {"ansible.builtin.command": {"argv": [program, "-i", "localhost,", "-c", "local", str(inner)]}},
    )
    assert taken["acquired"]
    assert second["rc"] == 2
    assert "is held by" in second["stdout"]
    assert in_ssm(fresh_aws)["lock_id"] == taken["lock"]["lock_id"]
