# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's specification in Ansible's own forms: argument spec, documentation, settings of the role."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .spec import LASTING, ONCE, Option

# Options that the role works out itself; everything else that lasts is a setting of the role under its own name.
COMPUTED = frozenset(
    {"project", "environment", "component", "image_id", "subnet_ids", "security_group_ids", "instance_profile_name"}
    | {"halt_parameter", "source.bucket"}
)
ROLE = "aws_trading_server_"


def argument_spec(options: Mapping[str, Option], *, required: bool = True) -> dict[str, Any]:
    """The argument spec of these options."""
    spec = {}
    for name, option in options.items():
        spec[name] = _plain(option, required)
        if option.options:
            spec[name]["options"] = argument_spec(option.options, required=False)
        if "key" in name:
            # Ansible takes such names for secrets.
            spec[name]["no_log"] = False
    return spec


def documentation(options: Mapping[str, Option], below: str = "suboptions", *, required: bool = True) -> dict[str, Any]:
    """The documentation of these options, limits included."""
    return {
        name: {
            "description": _description(option),
            **_plain(option, required),
            **({below: documentation(option.options, below, required=False)} if option.options else {}),
        }
        for name, option in options.items()
    }


def fleet_variables() -> dict[str, str]:
    """Every option of the fleet that is a setting of the role, with its name there; those of `source` apart."""
    return {name: ROLE + name for name in LASTING if name not in COMPUTED and name != "source"}


def source_variables() -> dict[str, str]:
    """The same for the options of `source`."""
    names = {"models": "model_names", "on_invalid": "on_invalid"}
    options = [name for name in LASTING["source"].options if f"source.{name}" not in COMPUTED]
    return {name: ROLE + names.get(name, f"model_{name}") for name in options}


def once_variables() -> dict[str, str]:
    """The same for what holds for one run."""
    return {name: f"{ROLE}once_{name}" for name in ONCE.options}


def role_options() -> dict[str, Option]:
    """The settings of the role that are options of the fleet, by their names in the role."""
    return {
        **{variable: LASTING[name] for name, variable in fleet_variables().items()},
        **{variable: LASTING["source"].options[name] for name, variable in source_variables().items()},
        **{variable: ONCE.options[name] for name, variable in once_variables().items()},
    }


def _plain(option: Option, required: bool) -> dict[str, Any]:
    """The option itself. What is required within a dictionary is so only where the dictionary is not empty, which
    Ansible cannot say and the fleet's own check knows."""
    plain: dict[str, Any] = {"type": option.type}
    if option.type == "list":
        plain["elements"] = option.elements
    if option.choices:
        plain["choices"] = list(option.choices)
    if option.required and required:
        plain["required"] = True
    if option.default is not None:
        plain["default"] = option.default
    return plain


def _description(option: Option) -> list[str]:
    texts = [option.text] if isinstance(option.text, str) else list(option.text)
    return [*texts, f"{option.limits[0].upper()}{option.limits[1:]}."] if option.limits else texts


def role_text(description: list[str]) -> list[str]:
    """The same text for the role, whose settings have other names."""
    return [re.sub(r"\bO\(", "C(", re.sub(r"\bP\(([^)#]*)[^)]*\)", r"C(\1)", text)) for text in description]
