# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: aws_hosts
version_added: 0.1.0
short_description: Real hosts of an environment, read only by a run that needs them
description:
  - Reads files C(aws_ec2.yml) by handing them to the inventory plugin C(amazon.aws.aws_ec2), whose options they have.
  - The playbooks of this collection start with the pseudo-hosts of P(algo.trading.components#inventory). One that
    configures real hosts reads them with the meta task C(refresh_inventory), once they are provisioned. When such a
    playbook starts, AWS is not asked.
  - Everything else (C(ansible), C(ansible-inventory), other playbooks, a C(--limit) that names more than components)
    reads the hosts at its start.
author:
  - The algo.trading authors (@algo-trading)
"""

EXAMPLES = r"""
ansible.cfg: |
  [inventory]
  enable_plugins = algo.trading.aws_hosts, algo.trading.components, ansible.builtin.yaml
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from ansible import context
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.plugins.loader import inventory_loader
from ansible_collections.algo.trading.plugins.module_utils._components import REGISTRY
from ansible_collections.algo.trading.plugins.plugin_utils import warm_imports

# The first file of ours that Ansible loads.
warm_imports.share()

_READER = "amazon.aws.aws_ec2"
_COLLECTION = Path(__file__).resolve().parents[2]
# A bake adds its builder itself.
_PSEUDO_HOSTS = frozenset({"components", "foundation", "image_builder", *(component.role for component in REGISTRY)})
# How plays choose among the components; other templates could be anything.
_CHOSEN = re.compile(r"\{\{ algo_components \|[^{}]*\}\}")
_REFRESH = {"ansible.builtin.meta": "refresh_inventory"}
# The parser in C where PyYAML has it: a tenth of the time.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Files that were left out once. To be read again is to be asked for.
_left_out: set[str] = set()


class InventoryModule(BaseInventoryPlugin):
    NAME = "algo.trading.aws_hosts"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("aws_ec2.yml", "aws_ec2.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        if path not in _left_out and starts_without_hosts(context.CLIARGS or {}):
            _left_out.add(path)
            return
        reader = inventory_loader.get(_READER)
        reader.parse(inventory, loader, path, cache=cache)
        # As Ansible does for the plugin that it has called itself; without a cache there is nothing to update.
        with suppress(AttributeError):
            reader.update_cache_if_changed()


def starts_without_hosts(arguments: Mapping[str, Any]) -> bool:
    """Whether a command runs playbooks of this collection only, and these name no real host at their start."""
    if "start_at_task" not in arguments:  # only ansible-playbook has it
        return False
    limit = str(arguments.get("subset") or "components")
    playbooks = [_path(str(name)) for name in arguments.get("args") or [""]]
    return _names_components(limit) and all(path is not None and _starts_without(path) for path in playbooks)


def _path(playbook: str) -> Path | None:
    """The file of a playbook of ours; None for any other."""
    if playbook.startswith("algo.trading."):
        return _COLLECTION / "playbooks" / f"{playbook.removeprefix('algo.trading.')}.yml"
    path = Path(playbook).resolve()
    return path if path.parent in {_COLLECTION, _COLLECTION / "playbooks"} else None


def _starts_without(playbook: Path) -> bool:
    """Whether its plays name components only, as far as the one that reads the inventory again."""
    try:
        for play in _plays(playbook):
            if not _names_components(_CHOSEN.sub("components", str(play["hosts"]))):
                return False
            if any(_REFRESH.items() <= task.items() for task in play.get("tasks") or ()):
                return True
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return False  # ansible-playbook itself reports what is wrong
    return True


def _plays(playbook: Path) -> Iterator[dict[str, Any]]:
    for play in yaml.load(playbook.read_text(encoding="utf-8"), Loader=_Loader):  # noqa: S506 - a safe loader
        imported = play.get("ansible.builtin.import_playbook")
        yield from _plays(playbook.parent / imported) if imported else [play]


def _names_components(pattern: str) -> bool:
    return all(name.lstrip("!&") in _PSEUDO_HOSTS for name in re.split("[:,]", pattern))
