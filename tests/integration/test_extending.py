"""What docs/components.md promises: a component, and an environment, of one's own in a copy of the checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.algo.trading.tests.integration.environments import ROOT

if TYPE_CHECKING:
    from conftest import Aws, Playbook

ROLE = {
    "meta/argument_specs.yml": """
argument_specs:
  main:
    short_description: Make the risk server
    description: Watches the positions of all trading servers.
    options:
      aws_risk_server_instance_type:
        description: Instance type of the host.
        type: str
        default: t4g.small
""",
    "defaults/main.yml": "aws_risk_server_instance_type: t4g.small\n",
    "tasks/main.yml": """
- name: Make the host
  ansible.builtin.include_role:
    name: algo.trading.aws_host
  vars:
    aws_host_component: risk_server
    aws_host_state: present
    aws_host_instance_types: ["{{ aws_risk_server_instance_type }}"]
""",
}
POLICY = """{
  "Version": "2012-10-17",
  "Statement": [
    {% include 'policies/_host.json.j2' %}
  ]
}
"""
ENTRY = """    Component("risk_server", "risk server", hosts=True, ports=(Port(9000, "Trading servers"),)),
)


def having("""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that git knows or would take, copied."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "ansible.cfg", "collections",
         "inventories", "lambda", "playbooks", "plugins", "roles", "meta", "galaxy.yml", "site.yml"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    copy = tmp_path / "checkout"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def test_a_new_component_is_a_role_a_policy_and_an_entry(fresh_aws: Aws, playbook: Playbook, checkout: Path) -> None:
    for name, text in ROLE.items():
        path = checkout / "roles" / "aws_risk_server" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"---\n{text.lstrip()}")
    (checkout / "roles/aws_identity/templates/policies/hosts-risk_server.json.j2").write_text(POLICY)
    registry = checkout / "plugins" / "module_utils" / "_components.py"
    before = registry.read_text()
    registry.write_text(before.replace(")\n\n\ndef having(", ENTRY))
    assert registry.read_text() != before

    run = playbook("-i", "inventories/qa", "site.yml", "--check", cwd=checkout, check=True)
    mine = {(line["type"], line["name"]) for line in run.plan["plan"] if line["component"] == "risk_server"}
    name = "algo-trading-risk-server-qa"
    assert mine == {
        ("IAM role", name),
        ("IAM policy", name),
        ("instance profile", name),
        ("security group", name),
        ("instance", name),
        ("DNS record", "risk-server.qa.algo-trading.internal"),
    }
    # Its setting is one of the environment's, and checked.
    refused = playbook(
        *("-i", "inventories/qa", "site.yml", "--check", "--limit", "aws_risk_server"),
        cwd=checkout,
        extra={"aws_risk_server_instance_type": "small"},
    )
    assert "aws_risk_server_instance_type: 'small'" in refused.output


def test_a_new_environment_is_a_folder(fresh_aws: Aws, playbook: Playbook, checkout: Path) -> None:
    folder = checkout / "inventories" / "stage"
    shutil.copytree(checkout / "inventories" / "qa", folder, symlinks=True)
    settings = folder / "group_vars" / "all" / "settings.yml"
    before = settings.read_text()
    for file in (settings, folder / "aws_ec2.yml"):
        file.write_text(file.read_text().replace(": qa\n", ": stage\n"))

    # A copy shares its bucket and its addresses with the original, and each says so.
    for environment, other in (("stage", "qa"), ("qa", "stage")):
        refused = playbook("-i", f"inventories/{environment}", "site.yml", "--check", cwd=checkout)
        assert f"algo_model_bucket: algo-model-deploy is already used by {other}" in refused.output
        assert f"of {other}; the two could never be peered" in " ".join(refused.output.split())

    settings.write_text(
        settings.read_text()
        .replace("algo_model_bucket: algo-model-deploy\n", "algo_model_bucket: algo-model-deploy-stage\n")
        .replace("10.30.", "10.50.")
    )
    run = playbook("-i", "inventories/stage", "site.yml", "--check", cwd=checkout, check=True)
    assert run.plan["environment"] == "stage"
    assert "algo-trading-mlflow-server-stage" in {line["name"] for line in run.plan["plan"]}

    # Whoever forgets to rename it does not run another environment.
    settings.write_text(before)
    misnamed = playbook("-i", "inventories/stage", "site.yml", "--check", cwd=checkout)
    assert "algo_environment: is qa, but the folder is inventories/stage" in misnamed.output
