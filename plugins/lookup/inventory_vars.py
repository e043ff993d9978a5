# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: inventory_vars
author:
  - The algo.trading authors (@algo-trading)
version_added: 0.1.0
short_description: Variables as the inventory and the roles' defaults give them, without extra variables
description:
  - Returns what variables would be if no setting of this collection had been given with C(-e).
  - For what lasts longer than a run, such as settings that are stored for a function. What is given on the command
    line is meant for one run.
  - A setting that neither the inventory nor a default has keeps the value of the run.
options:
  _terms:
    description:
      - Names of variables. They may refer to others, which are looked up in the same way.
      - Without a name, the lookup returns the names of the variables that were given with C(-e).
    type: list
    elements: str
    default: []
  keep:
    description: Names of settings that keep the value of the run, since they decide what environment the run is about.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Show what lasts, whatever -e says
  ansible.builtin.debug:
    msg: "{{ lookup('algo.trading.inventory_vars', 'aws_trading_server_power', keep=['algo_region']) }}"

- name: Show what was given for this run only
  ansible.builtin.debug:
    msg: "{{ query('algo.trading.inventory_vars', keep=['algo_region']) }}"
"""

RETURN = r"""
_list:
  description: The values of the variables, in the order of the names; or names, sorted.
  type: list
  elements: raw
"""

import copy
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.vars import load_extra_vars

_ROLES = Path(__file__).parents[2] / "roles"


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        self.set_options(var_options=variables, direct=kwargs)
        given = dict(variables or {})
        if unknown := [name for name in terms if name not in given]:
            raise AnsibleLookupError(f"No such variable: {', '.join(unknown)}")
        extra = load_extra_vars(self._loader).keys() & given.keys() - set(self.get_option("keep"))
        if not terms:
            return sorted(extra)
        lasting = self._lasting(given, extra)
        templar = self._templar.copy_with_new_env(available_variables={**given, **lasting})
        return [templar.template(lasting.get(name, given[name])) for name in terms]

    def _lasting(self, variables: dict[str, Any], extra: set[str]) -> dict[str, Any]:
        """The settings that were given as extra variables, as they would be without."""
        if not extra:
            return {}
        defaults: dict[str, Any] = {}
        for path in sorted(_ROLES.glob("*/defaults/main.yml")):
            defaults |= self._loader.load_from_file(str(path), cache="all", trusted_as_template=True) or {}
        found = {**defaults, **_without_extra(variables)}
        return {name: found[name] for name in extra if name in found}


def _without_extra(variables: dict[str, Any]) -> dict[str, Any]:
    """The host's variables of the inventory and its facts. Ansible has no public way to leave the extra ones out."""
    hostvars = variables["hostvars"]
    manager = copy.copy(hostvars._variable_manager)
    manager._extra_vars = {}
    host = hostvars._inventory.get_host(variables["inventory_hostname"])
    found: dict[str, Any] = manager.get_vars(host=host, include_hostvars=False)
    return found
