# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module's documentation and argument spec are those of the specification."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.algo.trading.plugins.doc_fragments.fleet import ModuleDocFragment
from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import argument_spec
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import MODULE
from ansible_collections.algo.trading.plugins.modules import model_fleet


def _flat(options: dict[str, Any], inner: str) -> dict[str, tuple[Any, ...]]:
    found = {}
    for name, option in options.items():
        found[name] = (
            option.get("type"),
            option.get("elements"),
            option.get("default"),
            option.get("required"),
            tuple(option.get("choices") or ()),
        )
        for sub, value in _flat(option.get(inner) or {}, inner).items():
            found[f"{name}.{sub}"] = value
    return found


def test_every_option_is_documented_as_it_is() -> None:
    assert "options" not in yaml.safe_load(model_fleet.DOCUMENTATION)
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert _flat(documented, "suboptions") == _flat(argument_spec(MODULE), "options")
    assert documented["max_terminate_share"]["description"][-1] == "Between 0 and 1."
