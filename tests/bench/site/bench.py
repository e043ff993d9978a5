# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times an environment's life on the embedded AWS: ours, and Terraform with a configuration of the same environment.

    python tests/bench/site --models 12 100 1000 --repeat 3    # 1000 is above --terraform-limit
    python tests/bench/site --models 12 --rounds 3 --add       # to the same tables
    python tests/bench/site --latency 0.1 --out build/slow     # each call takes 100 ms longer, as on AWS

Each round, each contestant has an AWS of its own, and the contestants take turns phase by phase. It asserts nothing
about time.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import figures
from .contestants import GROUPS, Contestant, Ours, Terraform, settings
from .measure import ROOT, CommandFailed, embedded_aws

Things = dict[str, dict[str, int]]


@dataclass
class Results:
    """What was measured, and what the environments consisted of in the first round with both contestants."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    things: Things = field(default_factory=dict)
    terraform: str = ""
    machine: dict[str, Any] = field(default_factory=dict)

    def rounds(self, models: int) -> int:
        """How many rounds there are with a number of models."""
        return max((row["round"] for row in self.rows if row["models"] == models), default=0)


def phases(repeat: int) -> list[str]:
    """An environment's life, in which what changes nothing comes several times: it is short, and so less certain."""
    return [phase for group in GROUPS for _time in range(1 if len(group) == 1 else repeat) for phase in group]


def life(
    results: Results, models: int, number: int, scratch: Path, options: argparse.Namespace, terraform: bool
) -> None:
    """One round: all phases of all contestants, in turn."""
    logs = options.out / "logs"
    with ExitStack() as stack:

        def account(name: str) -> Any:
            aws = stack.enter_context(embedded_aws(scratch / f"aws-{name}-{models}-{number}"))
            aws.stop_clock()
            aws.publish(settings()["algo_model_bucket"], models)
            aws.answer_after(options.latency)
            return aws

        ours = Ours(account("ours"), scratch / "ours", logs / f"{models}-{number}")
        peer = Terraform(account("terraform"), scratch / "terraform", ours.logs) if terraform else None
        entrants: list[Contestant] = [ours, *([peer] if peer else [])]
        for phase in phases(options.repeat):
            for contestant in entrants:
                if contestant is peer and phase == "first":
                    peer.prepare(ours.aws.role_policies(), ours.package)
                took = contestant.run(phase)
                if phase == "first" and peer:
                    results.things.setdefault(contestant.name, contestant.things())
                results.rows.append(
                    {"models": models, "round": number, "contestant": contestant.name, "phase": phase, **asdict(took)}
                )
                say(
                    f"{models:>5} models  round {number}  {contestant.name:<10} {phase:<10} {took.seconds:>7.1f} s"
                    f" {took.cpu_seconds:>7.1f} s CPU {took.calls:>6} calls {took.writes:>5} writing"
                    f" {'' if took.processes is None else f'{took.processes:>5} processes'}"
                )


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    versions = {name: importlib.metadata.version(name) for name in ("ansible-core", "boto3", "moto")}
    load = list(os.getloadavg())
    return {"cpus": os.cpu_count(), "load": load, "python": platform.python_version(), **versions}


def described(where: dict[str, Any], terraform: str) -> str:
    text = f"{where['cpus']} cores, load {where['load'][0]:.1f} before the run, Python {where['python']}"
    text += f", ansible-core {where['ansible-core']}" + (f", {terraform}" if terraform else "")
    return text + (f". Each call takes {1000 * where['latency']:.0f} ms longer." if where.get("latency") else ".")


def terraform_version(work: Path) -> str:
    done = subprocess.run(["terraform", "version", "-json"], cwd=work, text=True, capture_output=True, check=True)
    found = json.loads(done.stdout)
    provider = next(iter(found["provider_selections"].values()), "")
    return f"Terraform {found['terraform_version']}, AWS provider {provider}"


def report(results: Results, conditions: str) -> list[str]:
    """The Markdown that the documentation includes."""
    rows, things = results.rows, results.things
    counts = "; ".join(figures.times(rows, models) for models in figures.sizes(rows))
    lines = ["", f"Seconds are medians. {counts}. {conditions}", ""]
    lines += [*figures.figures_table(rows), "", *figures.goals_table(rows), ""]
    if things:
        parts, different = figures.comparison(things["ours"], things["terraform"])
        lines += ["Where Terraform has several resources for one of ours:", "", *parts, ""]
        if different:
            lines += [f"Not the same: {'; '.join(different)}.", ""]
    return lines


def measure_all(results: Results, options: argparse.Namespace) -> None:
    """All rounds.

    :raises CommandFailed: if a command fails; `results` has what was measured before.
    """
    if not options.rounds:
        return
    with tempfile.TemporaryDirectory(prefix="bench-site-") as folder:
        scratch = Path(folder)
        why = "--no-terraform"
        if not options.no_terraform:
            why = Terraform.missing(options.terraform_plugin_dir, scratch / "terraform")
        if why:
            say(f"Terraform is left out: {why}")
        else:
            results.terraform = terraform_version(scratch / "terraform")
        for models in options.models:
            for _ in range(options.rounds):
                number = results.rounds(models) + 1
                terraform = not why and models <= options.terraform_limit
                life(results, models, number, scratch, options, terraform)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[12], help="numbers of models")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often everything is measured; 0 with --add: only the tables"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, help="how often a plan and an unchanged run are measured in each round"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, help="seconds that each call takes longer; AWS needs 0.02 to 0.3"
    )
    parser.add_argument("--terraform-limit", type=int, default=100, help="largest number of models for Terraform")
    parser.add_argument("--terraform-plugin-dir", default="", help="local mirror of Terraform providers")
    parser.add_argument("--no-terraform", action="store_true", help="measure ours only")
    parser.add_argument("--add", action="store_true", help="add to the results that --out has already")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-site", help="where the results go")
    parser.add_argument("--docs", type=Path, help="write the tables between the markers of this document")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "site.json"
    results = Results(**json.loads(kept.read_text())["results"]) if options.add and kept.exists() else Results()
    results.machine, failed = results.machine or {**machine(), "latency": options.latency}, ""
    try:
        measure_all(results, options)
    except CommandFailed as problem:
        failed = str(problem)
    if not results.rows:
        sys.exit(failed or "Nothing was measured, and there are no earlier results to show.")
    lines = report(results, described(results.machine, results.terraform))
    kept.write_text(json.dumps({"failed": failed, "results": asdict(results)}, indent=1) + "\n")
    (options.out / "site.md").write_text("\n".join(lines) + "\n")
    say("\n".join(lines))
    if failed:
        sys.exit(f"\nThe tables lack what was not measured: {failed}")
    if options.docs:
        options.docs.write_text(figures.splice(options.docs.read_text(), lines))


def say(text: str) -> None:
    print(text, flush=True)
