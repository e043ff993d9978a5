# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of ``algo.trading.settings``; its documentation stands beside it in ``plugins/modules``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible_collections.algo.trading.plugins.module_utils._environments import FOLDER, environments, settings_files
from ansible_collections.algo.trading.plugins.module_utils.settings import (
    contradictions,
    lasting_only,
    unknown_names,
    used_by,
)

display = Display()

_ROLES = Path(__file__).parents[2] / "roles"
# Settings of ours start so; other names in an inventory are checked only where they stand in our own files.
_PREFIXES = ("algo_", "aws_")
# Facts that the run itself hands on.
_FACTS = frozenset(
    {
        "algo_checked",
        "algo_provisioned",
        "algo_removed",
        "algo_run_hosts",
        "algo_account",
        "algo_settings",
        "algo_network",
        "algo_aws_connection",
        "aws_image_component",
    }
)

# Settings that environments must not share.
_COMPARED = ("algo_model_bucket", "algo_data_bucket", "algo_artifact_bucket", "aws_network_cidr", "aws_network_vpc_id")


class ActionModule(ActionBase):
    _supports_check_mode = True
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset({"roles", "components"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _checks, task = self.validate_argument_spec(
            {
                "roles": {"type": "list", "elements": "str", "required": True},
                "components": {"type": "list", "elements": "str", "default": []},
            }
        )
        roles = task["roles"]
        options = {name: spec for role in roles for name, spec in self._options(role).items()}
        defaults = {
            name: value for role in roles for name, value in self._load(_ROLES / role / "defaults/main.yml").items()
        }
        inventory = Path(str(variables.get("inventory_dir") or ""))
        files = settings_files(inventory)
        written = {name: where for path in files for name, where in _names(path).items()}

        given = {name for name in variables if name.startswith(_PREFIXES)} | written.keys()
        findings = unknown_names(
            [
                name
                for name in given
                if name not in options and name not in _FACTS and not self._computed(name, variables)
            ],
            options,
        )
        extra = load_extra_vars(self._loader)
        findings += lasting_only(extra)
        if dropped := extra.get("_raw_params"):
            findings.append(
                f"-e: {dropped!r} belongs to no setting, and Ansible drops it. Quote a value with spaces twice: "
                "-e 'name=\"several words\"'."
            )
        settings, failures = self._effective(options, defaults, variables)
        findings += failures
        findings += _misplaced(inventory, settings)
        findings += self._invalid(options, settings, {name.split(":")[0] for name in failures})
        if not failures:
            # Invalid values are not compared with others and are reported once.
            told = {_name_of(finding) for finding in findings}
            sound = {name: value for name, value in settings.items() if name not in told}
            compared = contradictions(sound, self._others(variables, defaults))
            findings += [finding for finding in compared if _name_of(finding) not in told]
        places = self._places(files, settings)
        findings = [_placed(finding, places) for finding in dict.fromkeys(findings)]
        if findings:
            return {
                "failed": True,
                "changed": False,
                "findings": findings,
                "msg": "Invalid settings. No AWS call was made:\n  - " + "\n  - ".join(findings),
            }
        used = used_by(settings, task["components"])
        sources = (settings.get("algo_release") or {}).get("images") or {}
        images = {label: sources[label] for label in used["images"] if label in sources}
        answer = {"instance_types": used["instance_types"], "images": images}
        return {"changed": False, "findings": [], "settings": settings, **answer}

    # ---- what is declared ----

    def _load(self, path: Path) -> dict[str, Any]:
        if not path.exists():
            return {}
        # `unsafe`: as it was parsed, without a copy. Nothing else has it.
        return self._loader.load_from_file(str(path), cache="none", unsafe=True, trusted_as_template=True) or {}

    def _options(self, role: str) -> dict[str, Any]:
        specs = self._load(_ROLES / role / "meta/argument_specs.yml").get("argument_specs", {})
        return {name: option for spec in specs.values() for name, option in (spec.get("options") or {}).items()}

    def _places(self, files: list[Path], settings: dict[str, Any]) -> dict[str, str]:
        """Where the effective values are set. The last file wins; values from the command line have no place."""
        places: dict[str, str] = {}
        for path in files:
            values = self._load(path)
            for name, where in _names(path).items():
                places[name] = where
                if name in settings and _overridden(values.get(name), settings[name]):
                    del places[name]
        return places

    @staticmethod
    def _computed(name: str, variables: dict[str, Any]) -> bool:
        """Registered results and facts of earlier tasks carry a role's name too; they are not settings."""
        return name.endswith("_ids") and name in variables

    # ---- what is given ----

    def _effective(
        self, options: dict[str, Any], defaults: dict[str, Any], variables: dict[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        templar = self._templar.copy_with_new_env(available_variables={**defaults, **variables})
        settings: dict[str, Any] = {}
        findings = []
        for name in options:
            value = variables.get(name, defaults.get(name))
            if value is None:
                continue
            try:
                settings[name] = templar.template(value)
            except AnsibleError as error:
                if name not in variables:
                    continue  # a default that depends on facts of the run
                findings.append(f"{name}: cannot be templated: {error.message}")
        return settings, findings

    @staticmethod
    def _invalid(options: dict[str, Any], settings: dict[str, Any], broken: set[str]) -> list[str]:
        """One option at a time, so that every mistake is reported and each names its setting."""
        findings = []
        for name, option in options.items():
            if name in broken:
                continue
            clean = {key: value for key, value in option.items() if key not in {"description", "version_added"}}
            given = {name: settings[name]} if name in settings else {}
            result = ArgumentSpecValidator({name: clean}).validate(given)
            findings += [f"{name}: {_without_name(message, name)}" for message in result.error_messages]
            # An empty dictionary stays empty: with the defaults of its options in it, it would look given.
            if not result.error_messages and settings.get(name) not in (None, {}):
                settings[name] = result.validated_parameters[name]
        return findings

    def _others(self, variables: dict[str, Any], defaults: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The other environments of this project, read from the inventories beside this one."""
        here = Path(str(variables.get("inventory_dir") or ""))
        others = {}
        for name in environments(here.parent) if here.is_dir() else ():
            if name == here.name:
                continue
            raw: dict[str, Any] = {}
            try:
                for path in settings_files(here.parent / name):
                    raw |= self._load(path)
            except AnsibleError as error:
                # Its own run reports that, with the line.
                display.warning(f"Cannot read the settings of {name}, so they are not compared: {error.message}")
                continue
            templar = self._templar.copy_with_new_env(available_variables={**defaults, **raw})
            others[name] = {option: templar.template(raw.get(option, defaults.get(option))) for option in _COMPARED}
        return others


def _misplaced(inventory: Path, settings: dict[str, Any]) -> list[str]:
    """An environment's name must match its folder, so that a copied folder is not run as the original by mistake."""
    name = settings.get("algo_environment")
    if inventory.parent.name != FOLDER or name in (None, inventory.name):
        return []
    return [f"algo_environment: is {name}, but the folder is {FOLDER}/{inventory.name}. Give both the same name."]


def _names(path: Path) -> dict[str, str]:
    """Top-level names of a settings file, each with where it stands."""
    names = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = re.match(r"([A-Za-z_]\w*)\s*:", line)
        if match:
            environment = path.parents[2].name
            names[match[1]] = f"inventories/{environment}/group_vars/all/{path.name}:{number}"
    return names


def _overridden(written: Any, effective: Any) -> bool:
    """Whether a plain value in a file is not the one in force, because the command line gave another."""
    return "{{" not in str(written) and str(written) != str(_given(effective))


def _given(value: Any) -> Any:
    """Without the options that were left out, which the check of a dictionary adds."""
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return value


def _without_name(message: str, name: str) -> str:
    message = message.replace(f"argument '{name}' is of type", "is of type").replace("found in '" + name + "'", "")
    message = message.replace(f"value of {name} must", "must")
    return message.rstrip(". ") + "."


def _name_of(finding: str) -> str:
    return re.split(r"[:.]", finding, maxsplit=1)[0]


def _placed(finding: str, written: dict[str, str]) -> str:
    where = written.get(_name_of(finding))
    return f"{finding} ({where})" if where else finding
