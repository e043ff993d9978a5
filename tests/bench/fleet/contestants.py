# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contestants: how each is asked for a phase. All get the same models, image, subnets and AWS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BIN = Path(sys.executable).parent
PHASES = ("create", "again", "change", "terminate")


@dataclass(frozen=True)
class Measured:
    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass
class World:
    endpoint: str
    image: str
    subnets: list[str]
    work: Path
    terraform_plugin_dir: str = ""

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }

    def measure(self, command: list[str], *, stdin: str = "", cwd: Path = ROOT) -> Measured:
        """Run a command to its end; the peak is that of the largest process of its tree."""
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as said:
            given.write(stdin)
            given.seek(0)
            begin = time.monotonic()
            process = subprocess.Popen(command, cwd=cwd, env=self.env, stdin=given, stdout=said, stderr=said, text=True)
            _pid, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-4000:]}")
        return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def models(count: int, *, changed: bool) -> list[dict[str, Any]]:
    """The models of one size; after a change, every hundredth (at least one) has another version."""
    return [
        {
            "name": f"momentum/S{number % 10}/m{number:04d}-outer_0_inner_0",
            "type": "momentum",
            "symbol": f"S{number % 10}",
            "model": f"m{number:04d}",
            "outer": 0,
            "inner": 0,
            "version": "v2" if changed and number % 100 == 0 else "v1",
        }
        for number in range(count)
    ]


class Contestant(ABC):
    """`run` makes a phase real and says what it took."""

    name = ""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.count = count

    @classmethod
    def missing(cls) -> str:
        """Why it cannot take part on this machine, or nothing."""
        return ""

    def wanted(self, phase: str) -> list[dict[str, Any]]:
        return models(self.count, changed=phase in ("change", "terminate"))

    @abstractmethod
    def run(self, phase: str) -> Measured: ...

    def settings(self) -> dict[str, Any]:
        return {
            "project": "algo-trading",
            "environment": "bench",
            "image_id": self.world.image,
            "instance_types": ["t3.nano"],
            "subnet_ids": self.world.subnets,
            # An emulator has no limits; the throttled table is the one with limits.
            "rate_limits": {"factor": 0},
            # As the peers do: a new version is a new tag.
            "on_change": {"version": "reconfigure"},
        }


class Engine(Contestant):
    name = "engine"

    def run(self, phase: str) -> Measured:
        given = {"settings": self.settings(), "models": self.wanted(phase)}
        command = [sys.executable, str(HERE / "scripts" / "engine.py"), phase]
        return self.world.measure(command, stdin=json.dumps(given))


class BareBoto3(Contestant):
    name = "boto3"

    def run(self, phase: str) -> Measured:
        given = {"models": self.wanted(phase), "image": self.world.image, "subnets": self.world.subnets}
        command = [sys.executable, str(HERE / "scripts" / "bare_boto3.py"), phase]
        return self.world.measure(command, stdin=json.dumps(given))


class _Ansible(Contestant):
    def play(self, phase: str, tasks: list[dict[str, Any]], variables: dict[str, Any]) -> Measured:
        folder = self.world.work / f"{self.name}-{self.count}"
        folder.mkdir(parents=True, exist_ok=True)
        playbook, extra = folder / f"{phase}.json", folder / f"{phase}-vars.json"
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        extra.write_text(json.dumps(variables))
        command = [str(BIN / "ansible-playbook"), "-i", "localhost,", "-c", "local", str(playbook), "-e", f"@{extra}"]
        return self.world.measure(command)


class Module(_Ansible):
    name = "model_fleet"

    def run(self, phase: str) -> Measured:
        state = {"state": "absent"} if phase == "terminate" else {}
        arguments = {**self.settings(), **state, "models": "{{ models }}", "show_table": "none"}
        task = {"name": "Fleet", "algo.trading.model_fleet": arguments}
        return self.play(phase, [task], {"models": self.wanted(phase)})


class StartUp(_Ansible):
    """Ansible alone, with one task that does nothing: what is set aside when engines are compared."""

    name = "ansible start-up"

    def run(self, phase: str) -> Measured:
        return self.play(phase, [{"name": "Nothing", "ansible.builtin.ping": {}}], {"models": self.wanted(phase)})


class Ec2InstanceLoop(_Ansible):
    name = "ec2_instance"

    def run(self, phase: str) -> Measured:
        arguments = {
            "name": "{{ item.name }}",
            "state": "absent" if phase == "terminate" else "running",
            "image_id": self.world.image,
            "instance_type": "t3.nano",
            "vpc_subnet_id": self.world.subnets[0],
            "tags": {"Fleet": "loop", "Version": "{{ item.version }}"},
            "filters": {"tag:Name": "{{ item.name }}", "instance-state-name": ["pending", "running"]},
        }
        task = {"name": "Loop", "amazon.aws.ec2_instance": arguments, "loop": "{{ models }}"}
        task["loop_control"] = {"label": "{{ item.name }}"}
        return self.play(phase, [task], {"models": self.wanted(phase)})


class Terraform(Contestant):
    name = "terraform"

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("terraform") else "terraform is not on PATH"

    def run(self, phase: str) -> Measured:
        folder = self.world.work / f"terraform-{self.count}"
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "main.tf.json").write_text(json.dumps(self._configuration()))
            mirror = self.world.terraform_plugin_dir
            self.world.measure(
                ["terraform", "init", "-input=false", *([f"-plugin-dir={mirror}"] if mirror else [])], cwd=folder
            )
        wanted = {model["name"]: model["version"] for model in self.wanted(phase)}
        (folder / "bench.auto.tfvars.json").write_text(json.dumps({"models": wanted}))
        action = "destroy" if phase == "terminate" else "apply"
        return self.world.measure(["terraform", action, "-auto-approve", "-input=false", "-no-color"], cwd=folder)

    def _configuration(self) -> dict[str, Any]:
        provider = {
            "region": "us-east-1",
            "access_key": "testing",
            "secret_key": "testing",
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "skip_requesting_account_id": True,
            "endpoints": [{"ec2": self.world.endpoint, "sts": self.world.endpoint}],
        }
        instance = {
            "for_each": "${var.models}",
            "ami": self.world.image,
            "instance_type": "t3.nano",
            "subnet_id": self.world.subnets[0],
            "tags": {"Name": "${each.key}", "Version": "${each.value}"},
        }
        return {
            "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
            "provider": {"aws": provider},
            "variable": {"models": {"type": "map(string)"}},
            "resource": {"aws_instance": {"fleet": instance}},
        }


CONTESTANTS: dict[str, type[Contestant]] = {
    kind.name: kind for kind in (Module, Engine, BareBoto3, Terraform, Ec2InstanceLoop)
}
