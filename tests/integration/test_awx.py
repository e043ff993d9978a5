"""What awx/ declares is true of this repository, refers to nothing that is not declared, and holds no secret."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.tests.integration.conftest import Aws
from dateutil.rrule import rrulestr

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "awx").glob("*.yml"))
_SECRET = re.compile(r"AKIA|ASIA|BEGIN [A-Z ]*KEY|password|passwd|secret|token", re.IGNORECASE)


@pytest.fixture(scope="module")
def awx() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in FILES:
        if path.name != "load.yml":
            found |= yaml.safe_load(path.read_text())
    return found


def names(entries: list[dict[str, Any]]) -> set[str]:
    return {str(entry["name"]) for entry in entries}


def specs() -> dict[str, dict[str, Any]]:
    loaded = (yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    return {name: option for spec in loaded for name, option in spec["argument_specs"]["main"]["options"].items()}


def questions(awx: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        question
        for template in awx["controller_templates"]
        for question in template.get("survey_spec", {}).get("spec", [])
    ]


def test_load_playbook_reads_every_file() -> None:
    (play,) = yaml.safe_load((ROOT / "awx" / "load.yml").read_text())
    assert sorted([*play["vars_files"], "load.yml"]) == [path.name for path in FILES]


def test_templates_run_playbooks_that_exist(awx: dict[str, Any]) -> None:
    missing = [t["name"] for t in awx["controller_templates"] if not (ROOT / t["playbook"]).is_file()]
    assert missing == []


def test_everything_referred_to_is_declared(awx: dict[str, Any]) -> None:
    projects, inventories = names(awx["controller_projects"]), names(awx["controller_inventories"])
    images = names(awx["controller_execution_environments"])
    for template in awx["controller_templates"]:
        assert template["project"] in projects
        assert template["inventory"] in inventories
        assert template["execution_environment"] in images
    for source in awx["controller_inventory_sources"]:
        assert source["inventory"] in inventories
        assert source["source_project"] in projects
        assert (ROOT / source["source_path"] / "hosts.yml").is_file()
    runnable = names(awx["controller_templates"])
    for workflow in awx["controller_workflows"]:
        nodes = {node["identifier"]: node for node in workflow["simplified_workflow_nodes"]}
        assert all(node.get("unified_job_template", next(iter(runnable))) in runnable for node in nodes.values())
        assert {to for node in nodes.values() for to in node.get("success_nodes", ())} == nodes.keys() - {"plan"}
    assert names(awx["controller_templates"]) >= {s["unified_job_template"] for s in awx["controller_schedules"]}


def test_a_template_keeps_to_one_environment(awx: dict[str, Any]) -> None:
    """Nobody plans qa with the credentials of prod by a slip in this file."""
    for template in awx["controller_templates"]:
        environment = template["name"].rsplit(" ", 1)[0]
        assert template["inventory"] == environment
        assert template["credentials"] == [environment]
    for source in awx["controller_inventory_sources"]:
        assert source["credential"] == source["inventory"] == source["name"]
        assert source["source_path"] == f"inventories/{source['name'].split()[-1]}"


def test_surveys_ask_for_settings_that_exist_with_their_choices(awx: dict[str, Any]) -> None:
    declared = specs()
    components = yaml.safe_load((ROOT / "inventories/shared/hosts.yml").read_text())["components"]["hosts"]
    for question in questions(awx):
        option = declared[question["variable"]]
        allowed = list(components) if question["variable"] == "algo_components" else option.get("choices")
        if allowed:
            assert question["choices"] == allowed
        assert {"float": "float", "text": "str", "multiplechoice": "str", "multiselect": "list"}[
            question["type"]
        ] == option["type"]


def test_prod_cannot_be_removed_by_a_click(awx: dict[str, Any]) -> None:
    removing = [t["name"] for t in awx["controller_templates"] if "destroy" in t["playbook"]]
    assert removing
    assert not any("prod" in name for name in removing)


def test_scheduled_jobs_only_look(awx: dict[str, Any]) -> None:
    templates = {template["name"]: template for template in awx["controller_templates"]}
    for schedule in awx["controller_schedules"]:
        assert templates[schedule["unified_job_template"]]["job_type"] == "check"
        times = list(rrulestr(schedule["rrule"].replace(" RRULE", "\nRRULE"))[:10])
        assert all(later > earlier for earlier, later in pairwise(times))
        assert all(time.weekday() < 5 for time in times)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_secret_stands_there(path: Path) -> None:
    code = "\n".join(line.split("#")[0] for line in path.read_text().splitlines())
    assert _SECRET.findall(code) == []


@pytest.mark.parametrize("environment", ["dev", "qa", "prod"])
def test_a_job_finds_its_hosts_in_the_inventory_that_awx_writes(aws: Aws, environment: str, tmp_path: Path) -> None:
    """AWX exports what the source says and hands it to the job as a program that prints it."""
    program = str(Path(sys.executable).parent / "ansible-inventory")
    exported = subprocess.run(
        [program, "-i", f"inventories/{environment}/hosts.yml", "--list", "--export"],
        cwd=ROOT, env=aws.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    inventory = tmp_path / "hosts"
    inventory.write_text(f"#! /usr/bin/env python3\nprint({exported.stdout!r})\n")
    inventory.chmod(0o700)
    read = subprocess.run(
        [program, "-i", str(inventory), "--list"], cwd=ROOT, env=aws.env, capture_output=True, text=True, check=True
    )
    found = json.loads(read.stdout)
    assert "aws_network" in found["components"]["hosts"]
    assert found["_meta"]["hostvars"]["aws_network"]["algo_environment"] == environment
