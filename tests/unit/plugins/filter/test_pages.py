# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every filter has a page, which documents the arguments that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.filter import algo, fleet, hosts, images

FOLDER = Path(algo.__file__).parent
FILTERS: dict[str, Callable[..., Any]] = {
    name: each for module in (algo, fleet, hosts, images) for name, each in module.FilterModule().filters().items()
}


def test_every_filter_has_a_page_and_every_page_a_filter() -> None:
    assert {path.stem for path in FOLDER.glob("*.yml")} == FILTERS.keys()


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_the_page_has_the_arguments_of_the_filter(name: str) -> None:
    page = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    documented = page["DOCUMENTATION"]
    _first, *parameters = inspect.signature(FILTERS[name]).parameters.values()
    defaults = {
        parameter.name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for parameter in parameters
        if parameter.default is not inspect.Parameter.empty
    }
    options = documented["options"]
    assert documented["name"] == name
    assert documented["positional"].split(", ") == ["_input", *(parameter.name for parameter in parameters)]
    assert list(options) == documented["positional"].split(", ")
    assert {option: text.get("default") for option, text in options.items() if not text.get("required")} == defaults
    assert f"algo.trading.{name}" in page["EXAMPLES"]
    assert page["RETURN"]["_value"]["description"]
