"""What docs/components.md promises: a component, an environment or an option of one's own in a copy of the checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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
    "README.md": "# aws_risk_server\n\nMakes the risk server.\n",
    "meta/main.yml": "dependencies: [{role: algo.trading.aws_host}]\n",
    "defaults/main.yml": "aws_risk_server_instance_type: t4g.small\n",
    "tasks/main.yml": """
- name: Make the host
  algo.trading.resources:
    resources: "{{ aws_host_resources }}"
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
# The parts of an option of the fleet, each with what it stands behind.
OPTION = {
    "plugins/module_utils/fleet/spec.py": (
        '    "claim_grace": Option(\n',
        '    "desk": Option("str", "Who looks after the fleet.", ""),\n    "claim_grace": Option(\n',
    ),
    "plugins/module_utils/fleet/settings.py": ("    claim_grace: float\n", "    claim_grace: float\n    desk: str\n"),
    "plugins/module_utils/fleet/_settings_reader.py": (
        '        claim_grace=values["claim_grace"],\n',
        '        claim_grace=values["claim_grace"],\n        desk=values["desk"],\n',
    ),
    "roles/aws_trading_server/defaults/main.yml": (
        "aws_trading_server_claim_grace: 300\n",
        "aws_trading_server_claim_grace: 300\naws_trading_server_desk: ''\n",
    ),
    "roles/aws_trading_server/vars/main/fleet.yml": (
        '  claim_grace: "{{ aws_trading_server_claim_grace }}"\n',
        '  claim_grace: "{{ aws_trading_server_claim_grace }}"\n  desk: "{{ aws_trading_server_desk }}"\n',
    ),
}
ENTRY = """    Component("risk_server", "risk server", hosts=True, ports=(Port(9000, "Trading servers"),)),
)


def having("""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that git knows or would take, copied."""
    copy = tmp_path / "checkout"
    for name in known_to_git():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def known_to_git() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "ansible.cfg", "collections",
         "conftest.py", "docs", "inventories", "lambda", "playbooks", "plugins", "pyproject.toml", "roles", "meta",
         "galaxy.yml", "site.yml", "tests/config.yml", "tests/unit", "tools"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [name for name in listed.split("\0") if name and ((ROOT / name).is_symlink() or (ROOT / name).is_file())]


def touched(checkout: Path) -> set[str]:
    """The files that are new or different in the copy."""
    found = {
        str(path.relative_to(checkout))
        for folder in ("docs", "inventories", "lambda", "playbooks", "plugins", "roles", "tests", "tools")
        for path in (checkout / folder).rglob("*")
        if (path.is_file() or path.is_symlink()) and "__pycache__" not in path.parts
    }
    return {
        name for name in found if not (ROOT / name).is_file() or (ROOT / name).read_bytes() != content(checkout / name)
    }


def content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def promised(what: str) -> int:
    """How many files something takes, by the page."""
    row = re.search(rf"^\| {re.escape(what)} \| (\d+) \|", (ROOT / "docs" / "components.md").read_text(), re.MULTILINE)
    assert row, what
    return int(row[1])


def test_a_new_component_is_a_role_a_policy_and_an_entry(fresh_aws: Aws, playbook: Playbook, checkout: Path) -> None:
    for name, text in ROLE.items():
        path = checkout / "roles" / "aws_risk_server" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name.endswith(".md") else f"---\n{text.lstrip()}")
    (checkout / "roles/aws_identity/templates/policies/hosts-risk_server.json.j2").write_text(POLICY)
    registry = checkout / "plugins" / "module_utils" / "_components.py"
    before = registry.read_text()
    registry.write_text(before.replace(")\n\n\ndef having(", ENTRY))
    assert registry.read_text() != before
    assert len(touched(checkout)) == promised("component with one host")

    run = playbook("-i", "inventories/qa", "site.yml", "--check", cwd=checkout, check=True)
    mine = {(line["type"], line["name"]) for line in run.plan["plan"] if line["component"] == "risk_server"}
    name = "algo-trading-risk-server-qa"
    assert mine == {
        ("IAM role", name),
        ("IAM policy", name),
        ("instance profile", name),
        ("security group", name),
        ("instance", name),
        ("log group", "/algo-trading/qa/risk_server"),
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
    own = {name for name in touched(checkout) if not (checkout / name).is_symlink()}
    assert len(own) == promised("environment")
    assert {Path(name).parts[:2] for name in own} == {("inventories", "stage")}
    run = playbook("-i", "inventories/stage", "site.yml", "--check", cwd=checkout, check=True)
    assert run.plan["environment"] == "stage"
    assert "algo-trading-mlflow-server-stage" in {line["name"] for line in run.plan["plan"]}

    # Whoever forgets to rename it does not run another environment.
    settings.write_text(before)
    misnamed = playbook("-i", "inventories/stage", "site.yml", "--check", cwd=checkout)
    assert "algo_environment: is qa, but the folder is inventories/stage" in misnamed.output


def test_a_new_option_of_the_fleet_is_in_the_specification_and_where_it_is_read(checkout: Path) -> None:
    for name, (before, after) in OPTION.items():
        path = checkout / name
        assert path.read_text().count(before) == 1, name
        path.write_text(path.read_text().replace(before, after))
    assert len(touched(checkout)) == promised("option of the fleet")
    for tool in ("fleet_spec.py", "settings_doc.py"):
        subprocess.run([sys.executable, checkout / "tools" / tool], check=True)
    assert touched(checkout) - OPTION.keys() == {
        "roles/aws_trading_server/meta/argument_specs.yml",
        "docs/settings.md",
    }
    # The checks that hold specification, role, module, parameter and documentation equal.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "tests/unit/plugins/module_utils/fleet/test_spec.py", "tests/unit/roles/test_argument_specs.py"],
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "skipped" not in done.stdout
