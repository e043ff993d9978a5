"""Each role's variables stand twice, in `defaults` and in `meta/argument_specs.yml`: the two must agree."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())
# The role that checks what all share declares the inventory's settings too; they have no default in any role.
SHARED = {"aws_environment": "algo_"}
TYPES = {"str": str, "path": str, "int": int, "bool": bool, "float": (int, float), "list": list, "dict": dict}


def load(role: str, file: str) -> dict[str, Any]:
    path = ROLES / role / file
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.exists() else {}


def options(role: str) -> dict[str, dict[str, Any]]:
    specs = load(role, "meta/argument_specs.yml").get("argument_specs", {})
    return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}


def defaults(role: str) -> dict[str, Any]:
    return load(role, "defaults/main.yml")


def variables(role: str) -> set[str]:
    """Names of the role's variables, which stand in `vars/main.yml` or in files of `vars/main/`."""
    files = (ROLES / role / "vars").rglob("*.yml")
    return {name for path in files for name in yaml.safe_load(path.read_text(encoding="utf-8")) or {}}


def plain(value: Any) -> Any:
    """Templates may be folded differently in the two files."""
    if isinstance(value, str):
        return re.sub(r"\s+", " ", value).strip()
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def every_option(found: dict[str, dict[str, Any]], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Options of all levels, each with its path."""
    flat = []
    for name, option in found.items():
        flat.append((f"{path}{name}", option))
        flat += every_option(option.get("options") or {}, f"{path}{name}.")
    return flat


@pytest.mark.parametrize("role", NAMES)
def test_every_role_says_what_it_is_for(role: str) -> None:
    # A role that has nothing but variables for others has no entry point `main`.
    specs = load(role, "meta/argument_specs.yml")["argument_specs"]
    main = specs["resources" if not (ROLES / role / "tasks" / "main.yml").exists() else "main"]
    assert main["short_description"]
    assert main["description"]


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_declared_with_the_same_value(role: str) -> None:
    declared = {name: plain(option["default"]) for name, option in options(role).items() if "default" in option}
    own = {name: value for name, value in declared.items() if name.startswith(f"{role}_")}
    assert own == {name: plain(value) for name, value in defaults(role).items()}


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_carries_the_roles_name(role: str) -> None:
    allowed = (f"{role}_", SHARED.get(role, f"{role}_"))
    assert not [name for name in {**options(role), **defaults(role)} if not name.startswith(allowed)]
    # What a role works out for itself is private, and can't be taken for a setting; what it gives to others is not.
    given = {f"{role}_resources", f"{role}_report"}
    assert not [name for name in variables(role) - given if not name.startswith(f"__{role}_")]


@pytest.mark.parametrize("role", NAMES)
def test_what_has_no_default_is_required_or_may_be_left_out_on_purpose(role: str) -> None:
    for name, option in options(role).items():
        assert not (option.get("required") and "default" in option), name
        if not option.get("required") and "default" not in option:
            assert name not in defaults(role), name


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_described_and_typed(role: str) -> None:
    for path, option in every_option(options(role)):
        assert option.get("description"), path
        assert option.get("type") in TYPES, path
        assert (option["type"] == "list") == ("elements" in option), path


@pytest.mark.parametrize("role", NAMES)
def test_a_default_is_of_its_type_and_among_the_choices(role: str) -> None:
    for path, option in every_option(options(role)):
        default = option.get("default")
        if default is None or (isinstance(default, str) and "{{" in default):
            continue
        assert isinstance(default, TYPES[option["type"]]), path
        if option["type"] == "int":
            assert not isinstance(default, bool), path
        for value in default if option["type"] == "list" else [default]:
            assert value in option.get("choices", [value]), path


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_used(role: str) -> None:
    files = [path for part in ("tasks", "templates", "vars", "handlers") for path in (ROLES / role / part).rglob("*.*")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    text += (ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8")
    unused = [name for name in defaults(role) if len(re.findall(rf"\b{name}\b", text)) < 2]
    assert unused == []


def test_numbers_of_settings_are_taken_as_numbers_where_they_are_calculated_with() -> None:
    """`-e name=5` gives text: text plus a number fails in the middle of a run, and text times 60 is long."""
    names = "|".join(name for role in NAMES for name, option in options(role).items() if option["type"] == "int")
    calculated = re.compile(rf"\b({names})\b(?!\s*\|\s*int)\s*[-+*/]\s*[\w(]|[-+*/]\s*\b({names})\b(?!\s*\|\s*int)")
    wrong = []
    for path in [path for role in NAMES for path in (ROLES / role).rglob("*.*")]:
        if path.suffix in (".yml", ".j2") and path.parts[-2] in ("tasks", "templates", "vars", "handlers", "main"):
            expressions = re.findall(r"\{\{.*?\}\}", path.read_text(encoding="utf-8"), re.DOTALL)
            wrong += [f"{path.name}: {each}" for each in expressions if calculated.search(each)]
    assert not wrong
