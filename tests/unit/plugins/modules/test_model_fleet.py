# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's documentation, argument spec and settings agree."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ansible_collections.algo.trading.plugins.modules import model_fleet


def _flat(options: dict[str, Any], inner: str) -> dict[str, tuple[Any, ...]]:
    found = {}
    for name, option in options.items():
        found[name] = (option.get("type"), option.get("default"), tuple(option.get("choices") or ()))
        for sub, value in _flat(option.get(inner) or {}, inner).items():
            found[f"{name}.{sub}"] = value
    return found


def test_every_option_is_documented_as_it_is() -> None:
    documented = yaml.safe_load(model_fleet.DOCUMENTATION)["options"]
    assert _flat(documented, "suboptions") == _flat(model_fleet.argument_spec(), "options")


def test_every_option_that_is_a_setting_is_one_and_has_the_same_default() -> None:
    spec = model_fleet.argument_spec()
    given: dict[str, Any] = {"project": "p", "environment": "e"}
    for name, option in spec.items():
        if name in model_fleet._NOT_SETTINGS or name in given:
            continue
        if "options" in option:
            given[name] = {sub: value["default"] for sub, value in option["options"].items() if "default" in value}
        elif option.get("default") is not None:
            given[name] = option["default"]
    del given["session"]
    given["overrides"] = []
    assert FleetSettings.from_dict(given) == FleetSettings.from_dict({"project": "p", "environment": "e"})
