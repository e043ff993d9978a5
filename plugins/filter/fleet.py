# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.algo.trading.plugins.module_utils import models as _models
from ansible_collections.algo.trading.plugins.module_utils.fleet import document as _document
from ansible_collections.algo.trading.plugins.module_utils.fleet._complete import without_empty
from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import argument_spec
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import SettingsError
from ansible_collections.algo.trading.plugins.module_utils.fleet.spec import LASTING


def fleet_document(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fleet's lasting options, in their types and complete: what algo.trading.model_fleet and the function get."""
    # As JSON has it, which both go through: no other types, and no template that would be rendered again.
    plain = without_empty(LASTING, json.loads(json.dumps(options, default=str)))
    result = ArgumentSpecValidator(argument_spec(LASTING)).validate(plain)
    if result.error_messages:
        raise AnsibleFilterError(f"The fleet's settings are not valid: {'; '.join(result.error_messages)}")
    try:
        return _document.fleet_document(result.validated_parameters)
    except SettingsError as error:
        raise AnsibleFilterError(str(error)) from error


def fleet_parameter(document: Mapping[str, Any]) -> str:
    """The document as the function's SSM parameter holds it."""
    try:
        return _document.dump_document(document)
    except SettingsError as error:
        raise AnsibleFilterError(str(error)) from error


def model_prefix(pattern: str) -> str:
    """What the keys of all models begin with, by the pattern of their names."""
    return _models.literal_prefix(pattern or _models.DEFAULT_PATTERN)


def server_summary(servers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each model's server, as the summary shows it. In a template, a thousand of them would take seconds."""
    shown = {"instance": "instance_id", "instance_type": "instance_type", "address": "private_ip_address"}
    shown |= {"state": "state", "version": "version"}
    return {server["name"]: {name: server[key] for name, key in shown.items()} for server in servers}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "fleet_document": fleet_document,
            "fleet_parameter": fleet_parameter,
            "model_prefix": model_prefix,
            "server_summary": server_summary,
        }
