# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, which has the documentation, in a warm fork of the controller."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES
from ansible_collections.algo.trading.plugins.plugin_utils import run_record, warm_botocore
from ansible_collections.algo.trading.plugins.plugin_utils.warm_action import WarmAction

# Ansible imports this file in its main process, before the worker of the first reading is forked: this and all later
# workers then have the models of the services, which would each take them tens of milliseconds to load.
for _service in sorted({kind.service for kind in TYPES.values()} - {""}):
    warm_botocore.load_service(_service)


class ActionModule(WarmAction):
    """The module; a full reading starts the record of changes anew."""

    def answer(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if not arguments.get("modules"):
            run_record.begin()
        return super().answer(arguments, variables)
