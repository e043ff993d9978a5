# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: settings_files
version_added: 0.1.0
short_description: Variables from host_vars and group_vars, with file and line of what can't be read
description:
  - Does what P(ansible.builtin.host_group_vars#vars) does, in whose place it is enabled.
  - A file that is not valid YAML is reported with its path and line, which Ansible's own plugin leaves out.
extends_documentation_fragment:
  - ansible.builtin.vars_plugin_staging
options:
  stage:
    ini:
      - key: stage
        section: vars_settings_files
    env:
      - name: ALGO_SETTINGS_FILES_STAGE
  _valid_extensions:
    description: Extensions of the files that are read.
    type: list
    elements: string
    default: ['.yml', '.yaml', '.json']
author:
  - The algo.trading authors (@algo-trading)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.vars import BaseVarsPlugin
from ansible.plugins.vars.host_group_vars import VarsModule as HostGroupVars


class _Reader(HostGroupVars):
    def load_found_files(self, loader: Any, data: dict[str, Any], found_files: Sequence[str]) -> dict[str, Any]:
        for path in found_files:
            try:
                data = super().load_found_files(loader, data, [path])
            except AnsibleError as error:
                raise AnsibleParserError(f"{_place(error, path)}: {error.message}") from error
        return data


class VarsModule(BaseVarsPlugin):
    # Not a subclass of Ansible's own: that one carries a mark which plugins of collections may not have.
    def __init__(self) -> None:
        super().__init__()
        self._reader = _Reader()

    def get_vars(self, loader: Any, path: str, entities: Any, cache: bool = True) -> dict[str, Any]:
        super().get_vars(loader, path, entities)
        found: dict[str, Any] = self._reader.get_vars(loader, path, entities, cache)
        return found


def _place(error: AnsibleError, path: str) -> str:
    """File and line, from here where that is shorter."""
    mark = _began(error.__cause__)
    line = mark.line + 1 if mark else getattr(error.obj, "line_num", None)
    name = path.removeprefix(f"{Path.cwd()}/")
    return f"{name}:{line}" if line else name


def _began(error: Any) -> Any:
    """Where a text in quotes began that has no end: the parser notices only at the end of the file."""
    context = getattr(error, "context", None) or ""
    return getattr(error, "context_mark", None) if context.startswith("while scanning") else None
