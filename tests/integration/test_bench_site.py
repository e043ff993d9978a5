"""The benchmark of a whole environment measures what it says it does. How long anything takes is not tested."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils._components import REGISTRY
from ansible_collections.algo.trading.plugins.module_utils.models import list_models
from ansible_collections.algo.trading.tests.bench.site import figures
from ansible_collections.algo.trading.tests.bench.site.bench import Results, main, phases
from ansible_collections.algo.trading.tests.bench.site.contestants import Ours, Terraform
from ansible_collections.algo.trading.tests.bench.site.measure import (
    Aws,
    CommandFailed,
    embedded_aws,
    environment,
    measure,
)

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "tests" / "bench" / "site" / "terraform"
needs_terraform = pytest.mark.skipif(not shutil.which("terraform"), reason="terraform is not on PATH")

# Two API calls, three forks, three programs. The second fork leaves an orphan that works for a while.
PROGRAM = """
import os, subprocess, sys, time
import boto3
s3 = boto3.client("s3")
s3.create_bucket(Bucket="counted")
s3.list_buckets()
if os.fork() == 0:
    os._exit(0)
os.wait()
if os.fork() == 0:
    if os.fork() == 0:
        while time.process_time() < 1.5:
            pass
    os._exit(0)
os.wait()
subprocess.run(["true"], check=True)
subprocess.run([sys.executable, "-c", "import subprocess; subprocess.run(['true'])"], check=True)
"""


@pytest.fixture(scope="module")
def bench_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    with embedded_aws(tmp_path_factory.mktemp("bench") / "aws") as aws:
        yield aws


def row(contestant: str, phase: str, seconds: float, calls: int = 100, number: int = 1) -> dict[str, Any]:
    return {
        "models": 12,
        "round": number,
        "contestant": contestant,
        "phase": phase,
        "seconds": seconds,
        "cpu_seconds": seconds * 2,
        "calls": calls,
        "processes": 7 if contestant == "ours" else None,
    }


# ---- measuring ----


def test_a_command_is_measured_with_all_that_it_starts(bench_aws: Aws, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    command = ["python", str(script)]
    log = tmp_path / "logs" / "script.log"
    took = measure(bench_aws, command, log, cwd=tmp_path, env=environment(bench_aws), python=True)
    assert (took.calls, took.writes) == (2, 1)
    assert took.operations == {"s3:CreateBucket": 1, "s3:ListBuckets": 1}
    assert took.processes == 7  # the script, three forks, `true`, the second interpreter, and its own `true`
    assert json.loads(log.with_suffix(".report").read_text())["orphans"] == 1
    assert took.cpu_seconds >= 1.5
    again = measure(bench_aws, ["true"], log, cwd=tmp_path, env=environment(bench_aws))
    assert (again.calls, again.processes) == (0, None)


def test_a_command_that_fails_is_reported_with_its_output(bench_aws: Aws, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"ended with 3:\nbroken"):
        measure(
            bench_aws,
            ["sh", "-c", "echo broken; exit 3"],
            tmp_path / "sh.log",
            cwd=tmp_path,
            env=environment(bench_aws),
        )


def test_nothing_of_the_users_own_reaches_a_command(bench_aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "ANSIBLE_FORKS", "PYTHONDONTWRITEBYTECODE", "TF_LOG", "ALGO_PLAN_JSON"):
        monkeypatch.setenv(name, "1")
        assert name not in environment(bench_aws)
    assert environment(bench_aws)["AWS_ENDPOINT_URL"] == bench_aws.endpoint


def test_the_account_has_the_models_and_a_clock_that_stands_still(tmp_path: Path) -> None:
    with embedded_aws(tmp_path / "aws") as aws:
        aws.publish("published", 9)
        listing = list_models(aws.client("s3"), "published")
        assert len(listing.models) == 9
        assert listing.invalid == []
        aws.stop_clock()
        shown = [json.loads(aws._http("GET", "clock"))["now"] for _ in range(2)]
        assert shown[0] == shown[1]


def test_a_plan_that_changes_something_does_not_count_as_unchanged(bench_aws: Aws, tmp_path: Path) -> None:
    bench_aws.publish("algo-model-deploy", 2)
    ours = Ours(bench_aws, tmp_path / "ours", tmp_path / "logs")
    with pytest.raises(CommandFailed, match="Ours changes an unchanged environment"):
        ours.run("plan")
    planned = json.loads((tmp_path / "ours" / "plan.json").read_text())
    assert sum(line["type"] == "trading server" for line in planned["plan"]) == 2
    kinds = {line["type"] for line in planned["plan"] if line["action"] == "create"}
    assert kinds <= {kind for known, _types in figures.SAME for kind in known}


# ---- Terraform ----


def test_without_terraform_the_benchmark_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Terraform.missing("", tmp_path / "work") == "terraform is not on PATH"


@needs_terraform
def test_without_the_provider_the_benchmark_says_so(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    why = Terraform.missing(str(tmp_path / "mirror"), tmp_path / "work")
    assert why.startswith("terraform init failed: ")
    assert "hashicorp/aws" in why


@needs_terraform
def test_the_configuration_is_formatted() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "."], cwd=CONFIGURATION, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout


def test_the_configuration_has_the_components_schedules_and_ports_of_the_roles() -> None:
    for component in REGISTRY:
        own = (CONFIGURATION / component.name / "main.tf").read_text()
        assert f'module "{component.name}"' in (CONFIGURATION / "main.tf").read_text()
        defaults = yaml.safe_load((ROOT / "roles" / component.role / "defaults" / "main.yml").read_text())
        for name, value in defaults.items():
            if name.endswith("_schedule"):
                assert f'"{value}"' in own, name
    groups = (CONFIGURATION / "network" / "security_groups.tf").read_text()
    for component in REGISTRY:
        for port in (*component.ports, *([component.database] if component.database else [])):
            assert str(getattr(port, "number", getattr(port, "port", ""))) in groups


# ---- the tables ----


def test_what_changes_nothing_is_measured_several_times_in_a_round() -> None:
    assert phases(1) == ["first", "plan", "unchanged", "destroy"]
    assert phases(3) == ["first", *["plan", "unchanged"] * 3, "destroy"]


def test_rounds_become_a_median_and_a_best() -> None:
    rows = [row("ours", "plan", seconds, number=number) for number, seconds in enumerate((9.0, 4.0, 5.0), 1)]
    found = figures.summary(rows, 12, "ours", "plan")
    assert found == figures.Summary(seconds=5.0, best=4.0, cpu_seconds=10.0, calls=100, processes=7)
    assert figures.summary(rows, 12, "terraform", "plan") is None
    assert figures.figures_table(rows)[-1] == (
        "| 12 | ours | - | 5.0, best 4.0 (10.0 CPU, 100 calls, 7 processes) | - | - |"
    )


def test_goals_are_judged_by_ratio_and_by_number() -> None:
    rows = [
        row("terraform", "plan", 10.0),
        row("ours", "plan", 5.0),
        row("ours", "unchanged", 5.1, calls=155),
        row("ours", "first", 20.0, calls=601),
    ]
    judged = {goal.title: figures.measured(goal, rows, 12) for goal in figures.GOALS}
    assert judged["plan ÷ `terraform plan`, seconds"] == 0.5
    assert judged["first run ÷ `terraform apply`, seconds"] is None
    lines = figures.goals_table(rows)
    assert "| plan ÷ `terraform plan`, seconds | 0.5 | 0.50, met |" in lines
    assert "| unchanged run ÷ `terraform plan`, seconds | 0.5 | 0.51, not met |" in lines
    assert "| destroy ÷ `terraform destroy`, seconds | 0.2 | - |" in lines
    assert "| unchanged run, API calls | 155 | 155, met |" in lines
    assert "| first run, API calls | 600 | 601, not met |" in lines


def test_what_terraform_counts_apart_is_shown_and_what_only_one_has_is_named() -> None:
    ours = {"VPC": 1, "SQS queue": 1, "instance": 2, "trading server": 12, "lake": 1}
    terraform = {"aws_vpc": 1, "aws_sqs_queue": 1, "aws_sqs_queue_policy": 1, "aws_instance": 13, "aws_moon": 2}
    parts, different = figures.comparison(ours, terraform)
    assert "| SQS queue | 1 | `aws_sqs_queue`, `aws_sqs_queue_policy` | 2 |" in parts
    assert parts[-1] == "| all | 17 | all | 18 |"
    assert different == [
        "instance and trading server: 14; aws_instance: 13",
        "lake: 1; no counterpart",
        "aws_moon: 2; no counterpart",
    ]


def test_the_tables_of_earlier_results_take_their_place_in_the_documentation(tmp_path: Path) -> None:
    rows = [row("ours", "plan", 5.0), row("ours", "plan", 7.0, number=2)]
    (tmp_path / "site.json").write_text(
        json.dumps({"results": asdict(Results(rows=rows, terraform="Terraform 1.2.3"))})
    )
    document = tmp_path / "performance.md"
    document.write_text((ROOT / "docs" / "performance.md").read_text())
    arguments = ["--rounds", "0", "--add", "--no-terraform", "--out", str(tmp_path), "--docs", str(document)]
    main(arguments)
    written = document.read_text()
    assert figures.figures_table(rows)[-1] in written
    assert "12 models: 0 x first run, 2 x plan." in written
    assert "Terraform 1.2.3" in written
    main(arguments)
    assert document.read_text() == written
    assert json.loads((tmp_path / "site.json").read_text())["results"]["rows"] == rows


def test_a_document_without_the_markers_is_refused() -> None:
    document = f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n"
    assert figures.splice(document, ["new"]) == document.replace("old", "new")
    for broken in ("", figures.BEGIN, f"{figures.END}\n{figures.BEGIN}", document + figures.BEGIN):
        with pytest.raises(ValueError, match="The document needs"):
            figures.splice(broken, [])
