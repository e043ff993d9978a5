# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment that is measured, the local one on an embedded AWS of its own, and what is done with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from ansible_collections.algo.trading.tests.bench.site.measure import (
    ROOT,
    Aws,
    CommandFailed,
    environment,
    measure,
)

sys.path.append(str(ROOT / "tools"))
from embedded_aws.hosts import image, requirements
from embedded_aws.hosts.enclosure import Enclosure

_BUCKET = "algo-model-deploy-local"
_PLAYBOOK = "playbooks/configure.yml"
_LIMIT = ("--limit", "trading_server")
_PARAMETER = "/algo-trading/local/image/trading_server"
_MODELS = ROOT / "examples" / "algo-modeling-v2"
_BOOT_SECONDS = 600


@dataclass(frozen=True)
class Took:
    """What one run took. The controller's processes are its own and those that it started, not the hosts'."""

    name: str
    title: str
    hosts: int
    seconds: float
    controller_cpu: float
    hosts_cpu: float
    calls: int
    forks: int
    ssh: int
    tasks: int
    results: int
    changed: int
    longest: list[tuple[str, float]]
    """Tasks with the seconds that they took on a host in the middle, the longest first."""


class Scene:
    def __init__(self, aws: Aws, folder: Path, hosts: int, logs: Path) -> None:
        self.aws, self.folder, self.hosts, self.logs = aws, folder, hosts, logs
        self.local = folder / "local"
        self.vars = folder / "vars.json"
        self._given: dict[str, Any] = {}

    @staticmethod
    @contextmanager
    def opened(folder: Path, hosts: int, logs: Path) -> Iterator[Scene]:
        """
        :raises CommandFailed: if there can be no hosts on this machine
        """
        if why := requirements.missing():
            raise CommandFailed(f"Instances cannot be hosts here: {why}")
        image.ensure(say)
        state = folder / "local" / "aws"
        tool = [sys.executable, str(ROOT / "tools" / "embedded_aws")]
        # A server of its own, which ends with its directory at the latest.
        subprocess.run([*tool, "start", "--state", str(state), "--hosts", "on"], check=True)
        try:
            yield Scene(Aws((state / "endpoint").read_text().strip()), folder, hosts, logs)
        finally:
            subprocess.run([*tool, "stop", "--state", str(state)], check=True)

    # The environment

    def prepare(self) -> None:
        """Everything up to hosts that have booted and are not configured."""
        say(f"Preparing an environment with {self.hosts} trading servers; its market-data server is configured")
        self._publish()
        keys = self._market()
        code = json.loads(self._plain([sys.executable, "tools/trading_wheel.py"]))
        self._given = {
            "algo_endpoint_url": self.aws.endpoint, "algo_hosts": True, "local_keys": keys, "local_code": code,
            "algo_self_configured": [], "algo_configure_components": ["alpaca_websocket"],
            "algo_release": _release(None),
        }  # fmt: skip
        self._tell()
        self._play("site.yml", "--tags", "network,identity")
        self._play("site.yml", "--tags", "alpaca_websocket,trading_server", "-e", "algo_configure=true")
        self._booted()

    def use_image(self) -> None:
        """Bake, and end the servers: the next run launches others from the image."""
        say("Making an image of the trading servers")
        self._play("playbooks/bake_ami.yml", "-e", "component=trading_server")
        self.aws.client("ec2").terminate_instances(InstanceIds=self.servers())
        self._given |= {"algo_self_configured": ["trading_server"], "algo_release": _release(_PARAMETER)}
        self._tell()

    def servers(self) -> list[str]:
        """Ids of the trading servers that run."""
        filters = [
            {"Name": "tag:Component", "Values": ["trading_server"]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        found = self.aws.client("ec2").describe_instances(Filters=filters)["Reservations"]
        return [instance["InstanceId"] for reservation in found for instance in reservation["Instances"]]

    # What is measured

    def configure(self, name: str, title: str, forks: int = 0) -> Took:
        """Configure the trading servers."""
        return self._measured(name, title, [_PLAYBOOK, *_LIMIT, *(["--forks", str(forks)] if forks else [])])

    def unchanged(self, name: str, title: str, forks: int = 0) -> Took:
        """
        :raises CommandFailed: if something was changed
        """
        took = self.configure(name, title, forks)
        if took.changed:
            raise CommandFailed(f"The run '{title}' changed something. See {self.logs / name}.log and .tasks")
        return took

    def boot_alone(self, name: str, title: str) -> Took:
        """Launch them from the image, and wait until each has configured itself and trades."""
        return self._measured(name, title, ["site.yml", "--tags", "trading_server", "-e", "algo_configure=true"])

    def _measured(self, name: str, title: str, arguments: Sequence[str]) -> Took:
        log, tasks = self.logs / f"{name.replace(' ', '-')}.log", self.logs / f"{name.replace(' ', '-')}.tasks"
        tasks.unlink(missing_ok=True)
        env = self._env() | {
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("callback")),
            "ANSIBLE_CALLBACKS_ENABLED": "task_times",
            "BENCH_TASKS": str(tasks.absolute()),
        }
        self._close_connections()
        before = self._hosts_cpu()
        measured = measure(self.aws, self._command(*arguments), log, cwd=ROOT, env=env, python=True)
        used = self._hosts_cpu() - before
        started = Counter(log.with_suffix(".processes").read_text().split())
        rows: dict[str, dict[str, Any]] = json.loads(tasks.read_text())
        done = {task: row for task, row in rows.items() if row["results"] > row["skipped"]}
        longest = sorted(
            ((task, round(median(row["seconds"]), 2)) for task, row in done.items()), key=lambda it: -it[1]
        )
        return Took(
            name, title, self.hosts, measured.seconds, measured.cpu_seconds, round(used, 1), measured.calls,
            started["fork"], started["program:ssh"], len(done),
            sum(row["results"] - row["skipped"] for row in rows.values()),
            sum(row["changed"] for row in rows.values()), longest[:8],
        )  # fmt: skip

    # Helpers

    def _env(self) -> dict[str, str]:
        (self.folder / "cp").mkdir(exist_ok=True)
        (self.folder / "home").mkdir(exist_ok=True)
        return environment(self.aws) | {
            "HOME": str(self.folder / "home"),
            "ALGO_LOCAL_DIR": str(self.local),
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def _tell(self) -> None:
        self.vars.touch(mode=0o600)
        self.vars.write_text(json.dumps(self._given))

    def _command(self, *arguments: str) -> list[str]:
        return ["ansible-playbook", "-i", "inventories/local", "-e", f"@{self.vars}", *arguments]

    def _play(self, *arguments: str) -> None:
        self._plain(self._command(*arguments))

    def _plain(self, command: Sequence[str], cwd: Path = ROOT) -> str:
        done = subprocess.run(
            command, cwd=cwd, env=self._env(), text=True, capture_output=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            said = (done.stdout + done.stderr)[-4000:]
            raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
        return done.stdout

    def _publish(self) -> None:
        models = self.folder / "models"
        modeling = [sys.executable, "-m", "algo_modeling"]
        self._plain([*modeling, "train", "--output", str(models)], _MODELS)
        made = sorted(path.parent for path in models.rglob("manifest.json"))
        if len(made) < self.hosts:
            raise CommandFailed(f"The example has {len(made)} models; --hosts {self.hosts} is too many.")
        for folder in made[self.hosts :]:
            shutil.rmtree(folder)
        to = ["--bucket", _BUCKET, "--create-bucket", "--endpoint-url", self.aws.endpoint, "--region", "us-east-1"]
        tags = ["--bucket-tag", "Project=algo-trading", "--bucket-tag", "Environment=local"]
        self._plain([*modeling, "publish", "--output", str(models), *to, *tags], _MODELS)

    def _market(self) -> dict[str, str]:
        self._plain([sys.executable, "tools/paper_market.py", "start", "--state", str(self.local / "aws")])
        keys: dict[str, str] = json.loads((self.local / "market" / "keys.json").read_text())
        return keys

    def _booted(self) -> None:
        """Wait for the servers' first boot, which is not measured."""
        ec2, deadline = self.aws.client("ec2"), time.monotonic() + _BOOT_SECONDS
        while True:
            found = ec2.describe_instance_status(InstanceIds=self.servers())["InstanceStatuses"]
            if sum(each["InstanceStatus"]["Status"] == "ok" for each in found) == self.hosts:
                return
            if time.monotonic() > deadline:
                raise CommandFailed(f"Not all hosts booted: {[each['InstanceStatus']['Status'] for each in found]}")
            time.sleep(0.5)

    def _close_connections(self) -> None:
        """As for a run an hour later: none is kept from the run before."""
        for socket in (self.folder / "cp").glob("*"):
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "-"], capture_output=True, check=False)

    def _hosts_cpu(self) -> float:
        """CPU seconds of all hosts so far."""
        group = Enclosure(self.local / "aws" / "hosts").cgroup
        old = Path("/sys/fs/cgroup/cpuacct") / group / "cpuacct.usage"
        if old.exists():
            return int(old.read_text()) / 1e9
        stat = (Path("/sys/fs/cgroup") / group / "cpu.stat").read_text().split()
        return int(stat[stat.index("usage_usec") + 1]) / 1e6


def _release(image_: str | None) -> dict[str, Any]:
    """The environment's release with another image of the trading servers; of the clone's own none is taken."""
    path = ROOT / "inventories" / "local" / "group_vars" / "all" / "release.yml"
    release: dict[str, Any] = yaml.safe_load(path.read_text())["algo_release"]
    return release | {"images": release["images"] | {"trading_server": image_}}


def say(text: str) -> None:
    print(text, flush=True)
