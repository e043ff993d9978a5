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
from ansible_collections.algo.trading.plugins.filter.hosts import host_role
from ansible_collections.algo.trading.plugins.module_utils._components import REGISTRY
from ansible_collections.algo.trading.plugins.module_utils._environments import environments
from ansible_collections.algo.trading.tests.integration.conftest import Aws
from dateutil.rrule import rrulestr

ROOT = Path(__file__).parents[2]
AWX = ROOT / "awx"
FILES = sorted(path for path in AWX.rglob("*.*") if path.suffix in {".yml", ".j2"})
DECLARED = (
    "controller_execution_environments",
    "controller_inventories",
    "controller_inventory_sources",
    "controller_projects",
    "controller_schedules",
    "controller_templates",
    "controller_workflows",
)
_SECRET = re.compile(r"AKIA|ASIA|BEGIN [A-Z ]*KEY|password|passwd|secret|token", re.IGNORECASE)


def declared(awx: Path, to: Path) -> dict[str, Any]:
    """What load.yml would hand to AWX, templated by Ansible itself."""
    values = ", ".join(f"'{name}': {name}" for name in DECLARED)
    content = "{{ {" + values + "} | to_json }}"
    files = yaml.safe_load((awx / "load.yml").read_text())[0]["vars_files"]
    program = str(Path(sys.executable).parent / "ansible")
    subprocess.run(
        [program, "localhost", "-i", "localhost,", "-c", "local", "--playbook-dir", str(awx),
         "-m", "ansible.builtin.copy", "-a", json.dumps({"dest": str(to), "content": content}),
         *(f"-e@{awx / name}" for name in files)],
        cwd=awx.parent, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(to.read_text())
    return found


@pytest.fixture(scope="module")
def awx(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return declared(AWX, tmp_path_factory.mktemp("awx") / "declared.json")


def names(entries: list[dict[str, Any]]) -> set[str]:
    return {str(entry["name"]) for entry in entries}


def specs() -> dict[str, dict[str, Any]]:
    loaded = (yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    entries = (entry for spec in loaded for entry in spec["argument_specs"].values())
    return {name: option for entry in entries for name, option in entry["options"].items()}


def questions(awx: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        question
        for template in awx["controller_templates"]
        for question in template.get("survey_spec", {}).get("spec", [])
    ]


def survey_problems(spec: dict[str, Any]) -> list[str]:
    """What AWX refuses in a survey. Its API checks, in this order and in words of ours:

    - a survey has a name and a description, which are texts, and at least one question;
    - a question has a type, a name and a variable, which are texts, says with a boolean whether it must be answered,
      and no two questions set one variable;
    - a default is of the question's type: a number for integer and float, a text for all others, even for several
      choices, which stand one to a line;
    - limits are whole numbers, for float questions as well;
    - a choice has choices, its defaults are among them, and where one is chosen there is one default at most.
    """
    types: dict[str, tuple[type, ...]] = {
        **dict.fromkeys(("text", "textarea", "password", "multiplechoice", "multiselect"), (str,)),
        "integer": (int,),
        "float": (float, int),
    }
    problems = [f"{key} is no text" for key in ("name", "description") if not isinstance(spec.get(key), str)]
    seen: set[str] = set()
    for question in spec.get("spec") or [{}]:
        variable, kind = str(question.get("variable")), question.get("type")
        problems += [f"{variable}: no {key}" for key in ("question_name", "variable") if not question.get(key)]
        problems += [f"{variable}: required is no boolean"] if not isinstance(question.get("required"), bool) else []
        problems += [f"{variable}: asked twice"] if variable in seen else []
        seen.add(variable)
        if kind not in types:
            problems.append(f"{variable}: no type {kind}")
            continue
        default = question.get("default", "")
        if default != "" and (not isinstance(default, types[kind]) or isinstance(default, bool)):
            problems.append(f"{variable}: the default of a {kind} is a {type(default).__name__}")
        limits = (question.get(limit) for limit in ("min", "max"))
        problems += [f"{variable}: {limit} is no whole number" for limit in limits if not isinstance(limit, int | None)]
        if kind in ("multiplechoice", "multiselect"):
            choices = question.get("choices") or []
            chosen = default.split("\n") if isinstance(default, str) and default else []
            problems += [f"{variable}: no choice {choice}" for choice in chosen if choice not in choices]
            problems += [f"{variable}: no choices"] if not choices else []
            problems += [f"{variable}: two defaults"] if kind == "multiplechoice" and len(chosen) > 1 else []
    return problems


def test_surveys_keep_the_rules_of_awx(awx: dict[str, Any]) -> None:
    surveys = [template["survey_spec"] for template in awx["controller_templates"] if "survey_spec" in template]
    assert surveys
    assert [problem for survey in surveys for problem in survey_problems(survey)] == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"type": "float", "default": "0.2"}, "the default of a float is a str"),
        ({"type": "float", "default": 0.2, "max": 0.5}, "0.5 is no whole number"),
        ({"type": "multiselect", "choices": ["a", "b"], "default": ["a"]}, "the default of a multiselect is a list"),
        ({"type": "multiplechoice", "choices": ["a"], "default": "b"}, "no choice b"),
        ({"type": "text", "required": "yes"}, "required is no boolean"),
        ({"type": "number"}, "no type number"),
    ],
)
def test_what_awx_refuses_is_found(given: dict[str, Any], problem: str) -> None:
    question = {"question_name": "Q", "variable": "v", "required": True, **given}
    assert survey_problems({"name": "n", "description": "", "spec": [question]}) == [f"v: {problem}"]


def test_the_project_is_updated_before_anything_names_its_files() -> None:
    (play,) = yaml.safe_load((AWX / "load.yml").read_text())
    first, update, then = play["tasks"]
    assert [name.rsplit("_", 1)[-1] for name in first["loop"]] == ["environments", "projects"]
    assert update["awx.awx.project_update"]["wait"]
    assert {"controller_inventory_sources", "controller_job_templates"} <= set(then["loop"])


def test_every_environment_but_the_local_one_is_loaded(awx: dict[str, Any]) -> None:
    wanted = {f"algo-trading {name}" for name in environments(ROOT / "inventories") if name != "local"}
    for kind in ("controller_inventories", "controller_inventory_sources"):
        assert names(awx[kind]) == wanted
    for kind, end in (("templates", "apply"), ("workflows", "release"), ("schedules", "drift")):
        assert {f"{name} {end}" for name in wanted} <= names(awx[f"controller_{kind}"])


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
    # What playbooks/bake_ami.yml takes; it is no setting.
    declared = specs() | {
        "component": {"type": "str", "choices": [each.name for each in REGISTRY if host_role(each.name)]}
    }
    for question in questions(awx):
        option = declared[question["variable"]]
        allowed = (
            [component.role for component in REGISTRY]
            if question["variable"] == "algo_components"
            else option.get("choices")
        )
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
