# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: components
version_added: 0.1.0
short_description: One pseudo-host for each component of an environment
description:
  - Reads the registry of components and makes a host C(aws_<component>) with a local connection for each. Ansible's
    forks then provision components side by side, and C(--limit) picks one.
  - All are in the group C(components). Those that the others stand on are in C(foundation) too.
  - The real hosts come from C(amazon.aws.aws_ec2), in C(servers) and grouped by their C(Component) tag. These groups
    are made here, without hosts.
options:
  plugin:
    description: V(algo.trading.components), which marks a file C(hosts.yml) as one for this plugin.
    type: str
    required: true
    choices: [algo.trading.components]
author:
  - The algo.trading authors (@algo-trading)
"""

EXAMPLES = r"""
# inventories/qa/hosts.yml
plugin: algo.trading.components
"""

from pathlib import Path
from typing import Any

from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template
from ansible_collections.algo.trading.plugins.module_utils._components import HOSTS, REGISTRY


class InventoryModule(BaseInventoryPlugin):
    NAME = "algo.trading.components"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and Path(path).name in {"hosts.yml", "hosts.yaml"}

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        # The real hosts' groups exist before any host does, so that plays may name them in an empty account.
        for group in ("components", "foundation", "servers", *HOSTS):
            inventory.add_group(group)
        for component in REGISTRY:
            inventory.add_host(component.role, "components")
            if component.foundation:
                inventory.add_child("foundation", component.role)
        inventory.set_variable("components", "ansible_connection", "local")
        interpreter = trust_as_template("{{ ansible_playbook_python }}")
        inventory.set_variable("components", "ansible_python_interpreter", interpreter)
