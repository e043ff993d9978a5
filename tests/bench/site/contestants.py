# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contestants: this project, and Terraform with a configuration of the same environment."""

from __future__ import annotations

import json
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import ClassVar

import yaml

from .measure import HERE, ROOT, Aws, CommandFailed, Measured, environment, measure

ENVIRONMENT = "qa"
# What is measured, in the order of an environment's life. What stands together changes nothing and can be repeated.
GROUPS = (("first",), ("plan", "unchanged"), ("destroy",))
INVENTORY = ROOT / "inventories" / ENVIRONMENT


def settings() -> dict[str, str]:
    """The environment's own settings."""
    found: dict[str, str] = yaml.safe_load((INVENTORY / "group_vars" / "all" / "settings.yml").read_text())
    return found


class Contestant(ABC):
    """Carries out the phases of one environment's life, and says what it consists of."""

    name = ""

    def __init__(self, aws: Aws, work: Path, logs: Path) -> None:
        self.aws, self.work, self.logs = aws, work, logs
        work.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def run(self, phase: str) -> Measured:
        """Carry out a phase.

        :raises CommandFailed: if it fails, or changes something that is unchanged.
        """

    @abstractmethod
    def things(self) -> dict[str, int]:
        """After the first phase: how many things of each kind there are."""

    def log(self, phase: str) -> Path:
        return self.logs / f"{self.name}-{phase}.log"


class Ours(Contestant):
    """What a person types, with inventories/qa."""

    name = "ours"
    commands: ClassVar = {
        "first": ["site.yml"],
        "plan": ["site.yml", "--check", "--diff"],
        "unchanged": ["site.yml"],
        "destroy": ["playbooks/destroy.yml", "-e", f"algo_confirm={ENVIRONMENT}"],
    }

    def run(self, phase: str) -> Measured:
        plan = self.work / f"{phase}.json"
        env = environment(self.aws) | {
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.work / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ALGO_PLAN_JSON": str(plan),
        }
        command = ["ansible-playbook", "-i", str(INVENTORY), *self.commands[phase]]
        measured = measure(self.aws, command, self.log(phase), cwd=ROOT, env=env, python=True)
        counts = json.loads(plan.read_text())["counts"]
        changes = {action: number for action, number in counts.items() if number and action != "no-op"}
        if phase in ("plan", "unchanged") and changes:
            raise CommandFailed(f"Ours changes an unchanged environment ({changes}). See {self.log(phase)}.")
        return measured

    def things(self) -> dict[str, int]:
        lines = json.loads((self.work / "first.json").read_text())["plan"]
        return dict(Counter(line["type"] for line in lines if line["action"] == "create"))

    @property
    def package(self) -> Path:
        """The zip file that the functions are deployed from."""
        return ROOT / "build" / "lambda" / "trading_day.zip"


class Terraform(Contestant):
    """`terraform` with the configuration beside this file, given the policies and the package that ours deploys."""

    name = "terraform"
    commands: ClassVar = {
        "first": ["apply", "-auto-approve"],
        "plan": ["plan", "-detailed-exitcode"],
        "unchanged": ["apply", "-auto-approve"],
        "destroy": ["destroy", "-auto-approve"],
    }

    @staticmethod
    def missing(plugin_dir: str, work: Path) -> str:
        """Why it can't take part on this machine, or nothing. Leaves an initialized configuration in `work`."""
        if not shutil.which("terraform"):
            return "terraform is not on PATH"
        shutil.copytree(HERE / "terraform", work, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        mirror = [f"-plugin-dir={plugin_dir}"] if plugin_dir else []
        done = subprocess.run(
            ["terraform", "init", "-input=false", "-no-color", *mirror], cwd=work, text=True, capture_output=True
        )
        # Warnings come before the error, and all is in a frame and wrapped.
        lines = [text for line in done.stderr.partition("Error:")[2].splitlines() if (text := line.strip("│╷╵ "))]
        return f"terraform init failed: {' '.join(lines[:4])}" if done.returncode else ""

    def prepare(self, policies: dict[str, str], package: Path) -> None:
        """Start without a state, with what both contestants deploy."""
        for state in self.work.glob("terraform.tfstate*"):
            state.unlink()
        own = settings()
        variables = {
            "environment": ENVIRONMENT,
            "cidr": own["aws_network_cidr"],
            "model_bucket": own["algo_model_bucket"],
            "host_image_parameter": "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
            "package": str(package),
            "policies": policies,
        }
        (self.work / "bench.auto.tfvars.json").write_text(json.dumps(variables))

    def run(self, phase: str) -> Measured:
        command = ["terraform", *self.commands[phase], "-input=false", "-no-color"]
        env = environment(self.aws) | {"CHECKPOINT_DISABLE": "1"}
        # -detailed-exitcode makes a plan with changes fail.
        measured = measure(self.aws, command, self.log(phase), cwd=self.work, env=env)
        if phase == "unchanged" and "0 added, 0 changed, 0 destroyed" not in self.log(phase).read_text():
            raise CommandFailed(f"Terraform changes an unchanged environment. See {self.log(phase)}.")
        return measured

    def things(self) -> dict[str, int]:
        state = json.loads((self.work / "terraform.tfstate").read_text())
        found: Counter[str] = Counter()
        for resource in state["resources"]:
            if resource["mode"] == "managed":
                found[resource["type"]] += len(resource["instances"])
        return dict(found)
