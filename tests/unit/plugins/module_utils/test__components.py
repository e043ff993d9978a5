# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry, and that what it names is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils._components import COMPONENTS, FUNCTIONS, REGISTRY, Component
from ansible_collections.algo.trading.plugins.module_utils._naming import identities

ROOT = Path(__file__).parents[4]
SERVICE = ROOT / "services" / "alpaca_websocket"


def test_names_are_words_that_fit_into_all_names_made_of_them() -> None:
    assert len(set(COMPONENTS)) == len(COMPONENTS)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in COMPONENTS)


def test_the_foundation_comes_first() -> None:
    assert [component.foundation for component in REGISTRY] == sorted(
        (component.foundation for component in REGISTRY), reverse=True
    )


def test_what_has_schedules_has_a_function_and_what_has_ports_has_hosts() -> None:
    assert all(component.function for component in REGISTRY if component.schedules)
    assert all(component.hosts for component in REGISTRY if component.ports or component.fleet)


@pytest.mark.parametrize("component", REGISTRY, ids=lambda component: component.name)
def test_a_component_has_its_role(component: Component) -> None:
    spec = yaml.safe_load((ROOT / "roles" / component.role / "meta" / "argument_specs.yml").read_text())
    assert spec["argument_specs"]["main"]["short_description"]


def test_every_identity_has_its_policy_and_no_policy_is_left_over() -> None:
    found = {path.name for path in (ROOT / "roles/aws_identity/templates/policies").glob("[!_]*.j2")}
    wanted = {
        f"{each['kind']}-{each['component']}.json.j2" for each in identities("p", "e") if each["kind"] != "schedules"
    }
    assert found == wanted | {"schedules.json.j2"}


def test_every_function_has_its_handler() -> None:
    handlers = (ROOT / "lambda" / "trading_day" / "handlers.py").read_text()
    assert set(FUNCTIONS) == set(re.findall(r"^def ([a-z]\w*)\(event", handlers, re.MULTILINE))


@pytest.mark.skipif(not SERVICE.is_dir(), reason="the collection's artifact has no services")
def test_the_feeds_port_is_the_services_own() -> None:
    (port,) = next(component.ports for component in REGISTRY if component.name == "alpaca_websocket")
    example = tomllib.loads((SERVICE / "settings.example.toml").read_text())["downstream"]["port"]
    source = (SERVICE / "src" / "alpaca_websocket" / "settings.py").read_text()
    default = re.search(r"^class Downstream\(.*?^    port: Port = (\d+)", source, re.MULTILINE | re.DOTALL)
    assert default
    assert (example, int(default[1])) == (port.number, port.number)
    pages = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    named = re.findall(r"wss?://alpaca-websocket[\w.-]*\.internal:(\d+)", pages)
    assert named
    assert set(map(int, named)) == {port.number}
