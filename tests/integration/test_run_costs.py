"""What a run costs in tasks, processes and calls: whoever adds one for each model, or reads twice, fails here.

Seconds are not looked at. They are measured by tests/bench/site, on a machine that does nothing else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import limit_for
from ansible_collections.algo.trading.tests.integration.environments import LOCK, MODELS, ROOT, Environment, Outcome

if TYPE_CHECKING:
    from conftest import Aws, Playbook

MORE_MODELS = [f"momentum/SYM{number}/sma-outer_0_inner_0" for number in range(9)]
DATABASE = "algo-trading-mlflow-server-qa"
# Of operations that the fleet has no part in: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
SMALL_BUCKETS = {"CreateVpcEndpoint": 4, "CreateNatGateway": 10}
# What every run starts besides its tasks: the module of the fleet, which tells its progress. Others run in their task.
ALWAYS = 1


@dataclass(frozen=True)
class Cost:
    """What one run has come to."""

    outcome: Outcome
    forks: int

    @property
    def tasks(self) -> int:
        """Each is a worker of Ansible's, and so a fork."""
        recap = self.outcome.run.recap.values()
        return sum(host[part] for host in recap for part in ("ok", "failed", "skipped", "rescued", "ignored"))

    @property
    def modules(self) -> int:
        """What the workers themselves have started."""
        return self.forks - self.tasks

    @property
    def calls(self) -> Counter[str]:
        return self.outcome.asked


class Counting:
    """Runs of one environment, counted."""

    def __init__(self, aws: Aws, playbook: Playbook, tmp: Path) -> None:
        self._count = tmp / "processes"
        self._environment = {
            "PYTHONPATH": str(ROOT / "tests" / "bench" / "site" / "counting"),
            "BENCH_PROCESSES": str(self._count),
        }
        self._playbook = playbook
        self.aws = aws
        self.qa = Environment(aws, self._run, "qa")  # type: ignore[arg-type]

    def _run(self, *args: Any, **keywords: Any) -> Any:
        return self._playbook(*args, env=self._environment, **keywords)

    def __call__(self, *args: str, **settings: Any) -> Cost:
        self._count.unlink(missing_ok=True)
        outcome = self.qa(*args, **settings)
        return Cost(outcome, self._count.read_text().splitlines().count("fork"))


@pytest.fixture(scope="module")
def run(aws: Aws, shared_playbook: Playbook, tmp_path_factory: pytest.TempPathFactory) -> Counting:
    aws.reset()
    counting = Counting(aws, shared_playbook, tmp_path_factory.mktemp("costs"))
    counting.qa.publish(*MODELS)
    return counting


@pytest.fixture(scope="module")
def first(run: Counting) -> Cost:
    return run()


@pytest.fixture(scope="module")
def unchanged(run: Counting, first: Cost) -> Cost:
    return run()


def test_a_first_run_starts_few_processes_for_each_change(first: Cost) -> None:
    made = [line for line in first.outcome.lines if line[1] != "trading server"]
    assert len(made) > 80
    # One for each change and, where a module cannot set tags or has to be asked twice, one more.
    assert first.modules <= ALWAYS + 1 + 1.5 * len(made)
    # A model more makes one call more: with a hundred it is still 600.
    assert first.calls.total() - len(MODELS) <= 500


def test_no_operation_is_called_so_often_that_the_processes_of_a_run_had_to_share_a_pacer(first: Cost) -> None:
    """Calls of a whole first run fit into what AWS grants at once. The fleet, whose calls grow, paces its own."""
    counts = {name.removeprefix("ec2:"): number for name, number in first.calls.items() if name.startswith("ec2:")}
    granted = {name: SMALL_BUCKETS.get(name, limit_for(name).bucket) for name in counts}
    assert {name: number for name, number in counts.items() if number > granted[name]} == {}


def test_an_unchanged_run_starts_no_module_for_a_resource(unchanged: Cost) -> None:
    assert unchanged.outcome.lines == []
    assert unchanged.modules <= ALWAYS
    assert unchanged.tasks <= 22
    assert unchanged.calls.total() <= 155


def test_an_unchanged_run_makes_the_calls_of_a_plan_and_those_of_the_lock(run: Counting, unchanged: Cost) -> None:
    planned = run("--check", "--diff")
    # Both look at the lock once: the plan whether it is free, the run whether it is still its own.
    assert unchanged.calls - planned.calls == LOCK
    assert planned.calls - unchanged.calls == Counter()
    assert planned.modules <= unchanged.modules


def test_only_what_was_changed_is_read_again(run: Counting, unchanged: Cost) -> None:
    timeout = {"aws_trading_server_shutdown_timeout": 600}
    changed = run(**timeout)
    assert [line[:2] for line in changed.outcome.lines] == [("update", "Lambda function")]
    more = changed.calls - unchanged.calls
    assert {name.split(":")[0] for name in more} <= {"lambda", "sts", "iam"}
    assert more["lambda:GetFunction"] >= unchanged.calls["lambda:GetFunction"]
    assert more["iam:ListRolePolicies"] == 0
    run(aws_trading_server_shutdown_timeout=900)


def test_what_was_not_healthy_is_read_again(run: Counting, unchanged: Cost) -> None:
    rds = run.aws.client("rds")
    rds.stop_db_instance(DBInstanceIdentifier=DATABASE)
    stopped = run()
    assert stopped.calls["rds:DescribeDBInstances"] == 2 * unchanged.calls["rds:DescribeDBInstances"]
    assert stopped.calls["iam:GetRole"] == unchanged.calls["iam:GetRole"]
    assert f"aws rds start-db-instance --db-instance-identifier {DATABASE}" in stopped.outcome.output
    rds.start_db_instance(DBInstanceIdentifier=DATABASE)


def test_everything_is_read_again_on_request(run: Counting, unchanged: Cost) -> None:
    again = run(algo_verify="all")
    for call in ("iam:GetRole", "ec2:DescribeVpcs", "rds:DescribeDBInstances", "lambda:GetFunction"):
        assert again.calls[call] == 2 * unchanged.calls[call], call


def test_more_models_are_not_more_tasks_nor_processes_nor_calls(run: Counting, unchanged: Cost) -> None:
    run.qa.publish(*MORE_MODELS)
    grown = run()
    assert len(grown.outcome.lines) == len(MORE_MODELS)
    assert (grown.tasks, grown.modules) == (unchanged.tasks, unchanged.modules)
    again = run()
    assert again.outcome.lines == []
    assert (again.tasks, again.modules, again.calls) == (unchanged.tasks, unchanged.modules, unchanged.calls)
