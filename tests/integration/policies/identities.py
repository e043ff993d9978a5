"""The identities of four environments in one account, rendered by the role itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.algo.trading.plugins.module_utils import _naming
from ansible_collections.algo.trading.plugins.module_utils._environments import environments

ACCOUNT = "123456789012"
REGION = "us-east-1"
PROJECT = "algo-trading"
ROOT = Path(__file__).parents[3]
ENVIRONMENTS = tuple(environments(ROOT / "inventories"))

Document = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """One role as it would be made."""

    environment: str
    name: str
    trust: Document
    policy: Document

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{self.name}"

    @property
    def role(self) -> str:
        """The name without project and environment, for example `trading-server` or `trading-server-lambda`."""
        return self.name.removeprefix(f"{PROJECT}-").replace(f"-{self.environment}", "", 1)


def resource_name(component: str, environment: str) -> str:
    return _naming.resource_name(PROJECT, component, environment)


@cache
def own(environment: str) -> dict[str, Any]:
    """What an environment sets itself."""
    path = ROOT / "inventories" / environment / "group_vars" / "all" / "settings.yml"
    return dict(yaml.safe_load(path.read_text()))


def buckets(environment: str) -> tuple[str, ...]:
    """The environment's buckets: models, data, artifacts."""
    return (
        own(environment)["algo_model_bucket"],
        f"{resource_name('alpaca_websocket', environment)}-{ACCOUNT}",
        f"{resource_name('mlflow_server', environment)}-{ACCOUNT}",
    )


def settings(environment: str) -> dict[str, Any]:
    models, data, artifacts = buckets(environment)
    return {
        "algo_project": PROJECT,
        "algo_environment": environment,
        "algo_region": REGION,
        "algo_account_id": ACCOUNT,
        "algo_model_bucket": models,
        "algo_data_bucket": data,
        "algo_artifact_bucket": artifacts,
        "algo_schedules": own(environment).get("algo_schedules", True),
        "algo_account": {"resources": {}},
    }


def run_role(env: Mapping[str, str], where: Path, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Run the role in check mode with the settings of each of these hosts; returns what its tasks came to, by host."""
    inventory = where / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--check", "--diff", "-i", str(inventory)]
    run = subprocess.run(
        [*command, str(Path(__file__).with_name("render.yml"))],
        cwd=ROOT,
        env={
            **env,
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        },
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert run.stdout.startswith("{"), run.stdout[-4000:] + run.stderr[-4000:]
    tasks = json.loads(run.stdout)["plays"][0]["tasks"]
    return {host: [task["hosts"][host] for task in tasks if host in task["hosts"]] for host in hosts}


def render(env: Mapping[str, str], where: Path, **extra: Any) -> dict[str, list[Identity]]:
    """Plan the identities of all environments and take the documents out of the plan."""
    outcomes = run_role(env, where, {name: {**settings(name), **extra} for name in ENVIRONMENTS})
    return {environment: _identities(environment, tasks) for environment, tasks in outcomes.items()}


def _identities(environment: str, tasks: list[Any]) -> list[Identity]:
    planned: dict[str, dict[str, Any]] = {}
    for task in tasks:
        assert not task.get("failed"), task
        changes = [line for line in task.get("plan", ()) if line["action"] != "no-op"]
        for line, diff in zip(changes, task.get("diff", ()), strict=True):
            planned.setdefault(line["name"], {}).update(diff["after"])
    return [
        Identity(environment, name, _document(after["assume_role_policy_document"]), _document(after["policy_json"]))
        for name, after in planned.items()
    ]


def _document(by_sid: Mapping[str, Any]) -> Document:
    """A policy document from its form in a plan, where statements stand under their ids."""
    statements = [value for name, value in sorted(by_sid.items()) if name != "Version"]
    return {"Version": by_sid["Version"], "Statement": statements}
