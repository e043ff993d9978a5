"""The plan callback in real runs: what an operator reads, and what a machine gets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "integration" / "plan_callback"


# Task, and whether its failure was ignored; the others were rescued.
FAILURES = (
    ("Fail and be ignored", True),
    ("Fail inside", False),
    ("Fail with a secret", True),
    ("Loop over items", True),
    ("Fail half-way", True),
)


class Outcome:
    def __init__(self, done: subprocess.CompletedProcess[str], plan: Path) -> None:
        self.rc, self.stdout, self.stderr, self._plan = done.returncode, done.stdout, done.stderr, plan

    @property
    def plan(self) -> dict[str, Any]:
        return dict(json.loads(self._plan.read_text()))

    @property
    def tail(self) -> str:
        """What stands after the recap."""
        return self.stdout.split("PLAY RECAP")[1]

    @property
    def head(self) -> str:
        return self.stdout.split("PLAY RECAP")[0]


@pytest.fixture
def run(tmp_path):
    def run_it(*args: str, playbook: str = "site.yml", variables: dict[str, Any] | None = None, **env: str) -> Outcome:
        plan = tmp_path / "plan.json"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "ALGO_"))}
        clean.pop("NO_COLOR", None)
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", str(HERE / "hosts.yml"), str(HERE / playbook), *args),
                *("-e", json.dumps({"scratch": str(tmp_path)} | (variables or {}))),
            ],
            cwd=ROOT,
            env=clean
            | {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', os.defpath)}",
                "HOME": str(tmp_path),
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ALGO_PLAN_JSON": str(plan),
            }
            | env,
            text=True,
            capture_output=True,
            timeout=300,
        )
        return Outcome(done, plan)

    return run_it


def test_check_mode_ends_in_a_plan_by_component(run):
    outcome = run("--check", "--diff")
    assert outcome.rc == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.startswith("Check only: nothing will be changed.\n")
    assert (
        "Plan: 10 to create, 0 to change, 0 to replace, 1 to remove, 0 unchanged.\nNothing was changed" in outcome.tail
    )
    plan = outcome.tail
    assert plan.index("\nnetwork\n") < plan.index("\ntrading_server\n") < plan.index("\nmlflow_server\n")
    vpc = plan.index("+ VPC     algo-trading-network-qa            does not exist\n      + cidr_block: 10.2.0.0/16\n")
    assert vpc < plan.index("+ subnet  algo-trading-network-qa-private-a  does not exist")
    assert "do-not-show" not in outcome.stdout
    assert "\x1b" not in outcome.stdout
    assert "TASK [" not in outcome.stdout


def test_check_mode_writes_the_plan_for_machines(run):
    plan = run("--check").plan
    assert (plan["version"], plan["status"], plan["check"], plan["environment"]) == (2, "ok", True, "qa")
    assert plan["counts"] == {"create": 10, "update": 0, "replace": 0, "delete": 1, "no-op": 0}
    assert {line["status"] for line in plan["plan"]} == {"planned"}
    assert plan["plan"][0] == {
        "action": "create",
        "type": "VPC",
        "name": "algo-trading-network-qa",
        "component": "network",
        "reasons": ["does not exist"],
        "id": "",
        "host": "network",
        "task": "Create the VPC",
        "status": "planned",
    }
    assert plan["recap"]["network"]["ok"] == 4
    # Two tasks gave a part each, and neither overwrote the other.
    assert set(plan["summary"]["components"]) == {"network", "mlflow_server"}
    assert plan["ansible_version"].startswith("2.")


def test_a_run_prints_each_change_as_it_comes_and_then_the_summary(run):
    outcome = run()
    assert outcome.rc == 0, outcome.stdout + outcome.stderr
    assert outcome.head.index("\nNetwork\n") < outcome.head.index("+ VPC ") < outcome.head.index("\nComponents\n")
    assert outcome.head.count("+ subnet ") == 3
    assert "schedule            algo-trading-trading-server-qa/old  is no longer in the settings" in outcome.head
    assert "changed=2" in outcome.tail
    assert "  mlflow_server  tracking server  mlflow-server.qa.algo-trading.internal           running" in outcome.tail
    assert "2 trading servers: 1 running, 1 pending" in outcome.tail
    assert "! Hosts are not configured yet" in outcome.tail
    assert outcome.tail.index("Hosts are not") < outcome.tail.index(
        "Done: 10 created, 0 changed, 0 replaced, 1 removed"
    )


def test_a_second_run_says_that_there_is_nothing_to_change(run):
    outcome = run(variables={"built": True})
    assert "Nothing to change: the environment is up to date (changed=0).\n" in outcome.tail
    assert "  4 unchanged\n" in outcome.head
    assert outcome.plan["counts"]["no-op"] == 7
    assert all(line["action"] == "no-op" for line in outcome.plan["plan"])


def test_it_ends_with_how_long_each_component_took_the_slowest_first(run):
    outcome = run("--check", variables={"slow": 2})
    order = re.search(r"^Time by component: (.*)\.$", outcome.tail, re.MULTILINE)
    assert order
    components = outcome.plan["components"]
    shown = [name for name, component in components.items() if component["seconds"] >= 0.5]
    assert [part.split(" ")[0] for part in order[1].split(", ")] == shown
    assert set(components) == {"mlflow_server", "trading_server", "network"}
    seconds = [component["seconds"] for component in components.values()]
    assert seconds == sorted(seconds, reverse=True)
    # Its database takes two; the other waits for it in this strategy.
    assert components["mlflow_server"]["seconds"] >= 2
    assert components["network"]["steps"] == outcome.plan["recap"]["network"]["ok"]


def test_drift_is_shown_with_what_differs(run):
    outcome = run("--check", "--diff", variables={"built": True, "drifted": True})
    assert "versioning: false → true\n      - versioning: false\n      + versioning: true\n" in outcome.tail
    assert "Plan: 0 to create, 2 to change, 0 to replace, 0 to remove, 5 unchanged." in outcome.tail


def test_a_thousand_models_fit_on_a_screen_and_are_all_in_the_file(run):
    outcome = run("--check", variables={"models": 1000})
    assert len(outcome.stdout.splitlines()) < 70
    assert "+ 1000 × trading server  momentum/AAPL/sma0-outer_0_inner_1" in outcome.tail  # noqa: RUF001
    assert "Plan: 1007 to create" in outcome.tail
    assert sum(line["type"] == "trading server" for line in outcome.plan["plan"]) == 1000


def test_a_failed_run_shows_the_message_once_and_names_the_task_at_the_end(run):
    outcome = run(variables={"break_database": True})
    assert outcome.rc == 2
    told = (
        "✗ FAILED  mlflow_server: Create the database\n"
        "    RDS instance algo-trading-mlflow-server-qa: the quota of 40 instances is reached.\n"
        "    Ask for more under Service Quotas, or remove an instance, then run again.\n"
        "    at tests/integration/plan_callback/site.yml:"
    )
    assert told in outcome.head
    assert outcome.stdout.count("Ask for more under Service Quotas") == 1
    assert "Failures, details above\n✗ FAILED  mlflow_server: Create the database\n\n" in outcome.tail
    assert (
        "Failed. Changes before the failure: 8 created, 0 changed, 0 replaced, 1 removed, 0 unchanged." in outcome.tail
    )
    assert "run the same command again" in outcome.tail
    plan = outcome.plan
    assert plan["status"] == "failed"
    assert [(failure["host"], failure["task"]) for failure in plan["failed"]] == [
        ("mlflow_server", "Create the database")
    ]
    assert [line["name"] for line in plan["plan"] if line["status"] == "failed"] == ["algo-trading-mlflow-server-qa"]


@pytest.mark.parametrize("verbosity", ["", "-v"])
def test_trouble_of_every_kind_is_told_apart(run, verbosity):
    outcome = run(*filter(None, [verbosity]), "--diff", playbook="trouble.yml")
    assert outcome.rc == 2
    assert "hunter2" not in outcome.stdout + outcome.stderr
    failed = sorted((f["task"], f["host"], f["ignored"], f["rescued"]) for f in outcome.plan["failed"])
    hosts = ("mlflow_server", "trading_server")
    survived = [(task, host, ignored, not ignored) for task, ignored in FAILURES for host in hosts]
    assert failed == sorted([*survived, ("Fail for good", "mlflow_server", False, False)])
    assert outcome.tail.count("✗ FAILED") == 1
    assert "✗ FAILED  mlflow_server: Fail for good" in outcome.tail
    # A loop's good item, a file and its handler count; the secret command does, without its words.
    changed = [
        line["task"] for line in outcome.plan["plan"] if (line["host"], line["type"]) == ("trading_server", "task")
    ]
    assert changed == ["Change with a secret", "Loop over items", "Write a file", "Handle it"]


def test_trouble_reads_well(run):
    outcome = run("--diff", playbook="trouble.yml", ANSIBLE_FORKS="1")
    head = outcome.head
    assert "✗ FAILED  trading_server: Fail and be ignored\n    ignored message\n" in head
    assert "    ignored: the run continues\n" in head
    assert "    rescued message\n" in head
    assert "    handled by the play's rescue: the run continues\n" in head
    assert "  rescue ran\n  second line\n" in head
    assert "✗ FAILED  trading_server: Loop over items (item false)\n" in head
    assert "One or more items failed" not in head
    assert "  + trading server      m/one   has no server\n" in head
    assert (
        "  = trading server      m/four  not started: Stopped after a failed batch\n✗ FAILED  trading_server: " in head
    )
    assert "± trading server" not in head
    assert "m/three" not in head
    assert "a warning to be seen" in outcome.stdout + outcome.stderr
    assert "never shown" not in outcome.stdout
    assert "      + a line\n" in head
    assert "    command: sh -c 'echo to standard error >&2; exit 3'\n    stderr: to standard error\n" in head


def test_verbose_output_is_the_default_callbacks(run):
    outcome = run("-v", variables={"models": 30})
    assert "TASK [Create the VPC] ***" in outcome.head
    assert "changed: [network] => " in outcome.head
    assert "skipping: [trading_server]" in outcome.head
    assert "Done: 37 created" in outcome.tail


def test_verbose_check_mode_draws_nothing_together(run):
    assert run("-v", "--check", variables={"models": 30}).tail.count("+ trading server") == 30


def test_a_slow_step_says_that_it_is_under_way(run):
    outcome = run(variables={"slow": 4}, ALGO_PLAN_PROGRESS_AFTER="1")
    assert "  … mlflow_server: Create the database (" in outcome.head


def test_colours_are_ansibles_own(run):
    assert "\x1b[0;32m+ VPC" in run(ANSIBLE_FORCE_COLOR="1").stdout
    assert "\x1b" not in run(ANSIBLE_NOCOLOR="1").stdout


def test_unreachable_hosts_fail_the_run(run, tmp_path):
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho no route >&2\nexit 255\n")
    ssh.chmod(0o755)
    unreachable = {"ansible_connection": "ssh", "ansible_ssh_executable": str(ssh)}
    outcome = run(variables=unreachable, playbook="foreign.yml")
    assert outcome.rc == 4
    assert "✗ UNREACHABLE  mlflow_server: Change something\n" in outcome.head
    assert {failure["kind"] for failure in outcome.plan["failed"]} == {"unreachable"}
    assert outcome.plan["status"] == "failed"


def test_a_foreign_playbook_reads_well_too(run):
    outcome = run(playbook="foreign.yml")
    assert "~ task                Change something  on mlflow_server\n" in outcome.head
    assert "Done: 0 created, 2 changed, 0 replaced, 0 removed, 0 unchanged." in outcome.tail
    assert outcome.plan["summary"] == {}
    assert outcome.plan["environment"] is None


def test_a_play_without_hosts_stays_silent(run):
    outcome = run("--limit", "mlflow_server")
    assert "\nNetwork\n" not in outcome.head
    assert "\nComponents\n" in outcome.head


def test_a_file_that_cannot_be_written_is_a_warning(run, tmp_path):
    outcome = run("--check", ALGO_PLAN_JSON=str(tmp_path))
    assert outcome.rc == 0
    assert "The plan could not be written to" in outcome.stdout + outcome.stderr
    assert "Plan: 10 to create" in outcome.tail


def test_the_free_strategy_and_a_play_in_check_mode_work_too(run, tmp_path):
    outcome = run(playbook="free.yml")
    assert outcome.rc == 0, outcome.stdout + outcome.stderr
    assert "~ task  Touch a file  on " in outcome.tail
    assert "Plan: 0 to create, 2 to change" in outcome.tail
    assert {line["host"] for line in outcome.plan["plan"]} == {"mlflow_server", "trading_server"}
    assert not (tmp_path / "touched").exists()
