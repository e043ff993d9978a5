# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One specification: nothing that is made from it says something else."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.lookup import s3_models
from ansible_collections.algo.trading.plugins.module_utils.fleet import settings as typed
from ansible_collections.algo.trading.plugins.module_utils.fleet._complete import complete
from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import (
    COMPUTED,
    fleet_variables,
    role_options,
    source_variables,
)
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import DECIDING, LASTING, MODULE, Option

ROOT = Path(__file__).parents[5]
ROLE = ROOT / "roles" / "aws_trading_server"
TOOL = ROOT / "tools" / "fleet_spec.py"
# Where the role's default is another one than the fleet's, on purpose.
OWN_DEFAULTS = {"instance_types", "root_volume", "power", "calendar", "model_owner"}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def every_option(options: Any, path: str = "") -> list[tuple[str, Option]]:
    found = []
    for name, option in options.items():
        found.append((f"{path}{name}", option))
        found += every_option(option.options, f"{path}{name}.")
    return found


@pytest.mark.parametrize(("path", "option"), every_option(MODULE))
def test_every_option_is_described_and_its_default_is_allowed(path: str, option: Option) -> None:
    assert option.text
    assert (option.type == "list") <= bool(option.elements)
    if option.default is not None:
        problems: list[str] = []
        assert complete({"it": option}, {"it": option.default}, problems).get("it", option.default) == option.default
        assert problems == []


def test_no_setting_has_a_second_default() -> None:
    classes = [item for item in vars(typed).values() if dataclasses.is_dataclass(item) and isinstance(item, type)]
    for item in classes:
        if item.__module__ == typed.__name__ and item is not typed.Selector:
            defaults = [field.name for field in dataclasses.fields(item) if field.default is not dataclasses.MISSING]
            assert defaults == [], item


def test_every_option_reaches_the_typed_settings() -> None:
    fields = {field.name for field in dataclasses.fields(typed.FleetSettings)}
    launch = {field.name for field in dataclasses.fields(typed.LaunchSettings)}
    assert DECIDING.keys() - fields - launch == {"rate_limits", "once", "calendar"} - fields
    assert LASTING["source"].options.keys() == {field.name for field in dataclasses.fields(typed.Source)}


@pytest.mark.skipif(not TOOL.is_file(), reason="the collection's artifact has no tools")
def test_the_roles_settings_are_the_specifications() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_role_has_the_specifications_defaults() -> None:
    defaults = load(ROLE / "defaults" / "main.yml")
    for variable, option in role_options().items():
        name = variable.removeprefix("aws_trading_server_")
        if name in OWN_DEFAULTS or variable not in defaults:
            continue
        assert defaults[variable] in (option.default, "", {}, []), variable
    once = {variable for variable in role_options() if "_once_" in variable}
    assert role_options().keys() - defaults.keys() == once - {"aws_trading_server_once_force"}


def test_the_role_passes_every_lasting_option_on() -> None:
    options = load(ROLE / "vars" / "main" / "fleet.yml")["__aws_trading_server_options"]
    assert options.keys() == LASTING.keys()
    assert options["source"].keys() == LASTING["source"].options.keys()
    for name, variable in fleet_variables().items():
        assert re.search(rf"\b{variable}\b", str(options[name])), name
    for name, variable in source_variables().items():
        assert options["source"][name] == f"{{{{ {variable} }}}}"
    assert not [name for name in COMPUTED - {"source.bucket"} if "aws_trading_server_" + name in str(options)]


def test_the_role_passes_what_holds_once_only_as_such() -> None:
    tasks = load(ROLE / "tasks" / "fleet.yml")
    module = next(task for task in tasks if "algo.trading.model_fleet" in task)
    assert module["algo.trading.model_fleet"]["once"].keys() == MODULE["once"].options.keys()
    assert not module["algo.trading.model_fleet"].keys() & LASTING.keys()
    files = [*(ROLE / "vars" / "main").iterdir(), ROLE / "tasks" / "main.yml"]
    stored = "".join(path.read_text() for path in files)
    assert "__aws_trading_server_options:" in stored
    assert "_once_" not in stored


def test_the_lookup_has_the_options_of_the_source() -> None:
    documented = yaml.safe_load(s3_models.DOCUMENTATION)["options"]
    for name, option in LASTING["source"].options.items():
        if name == "bucket":
            continue
        own = documented.get(name) or next(item for item in documented.values() if name in item.get("aliases", ()))
        assert own["type"] == option.type, name
        assert tuple(own.get("choices", ())) == option.choices, name
        assert own.get("default", option.default) == option.default, name


def test_completing_what_is_complete_changes_nothing() -> None:
    once = complete(LASTING, {"project": "p", "environment": "e", "session": {"open": "09:30", "close": "16:00"}}, [])
    assert complete(LASTING, once, []) == once
    assert once["session"]["days"] == ["mon", "tue", "wed", "thu", "fri"]
    # Empty means not given.
    assert complete(LASTING, {**once, "market": "", "session": {}, "protect_tags": {}}, []) == {
        name: value for name, value in once.items() if name != "session"
    }


def test_a_removal_protects_what_the_settings_protect() -> None:
    [task] = yaml.safe_load((ROLE / "tasks" / "absent.yml").read_text())
    assert task["algo.trading.model_fleet"]["protect_tags"] == "{{ aws_trading_server_protect_tags }}"
