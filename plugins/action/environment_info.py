# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, which has the documentation, in a warm fork, and compares what it read."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.account_checks import account_problems
from ansible_collections.algo.trading.plugins.plugin_utils import run_record, warm_workers
from ansible_collections.algo.trading.plugins.plugin_utils.warm_action import WarmAction

# Ansible imports this file in its main process, before the worker of the first reading is forked.
warm_workers.load_services()


class ActionModule(WarmAction):
    """The module; a full reading starts the record of changes anew."""

    def answer(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if not arguments.get("modules"):
            run_record.begin()
        settings, components = arguments.pop("settings", None), arguments.pop("components", None) or []
        account = super().answer(arguments, variables)
        problems = account_problems(account, settings, components) if settings and not account.get("failed") else []
        if problems:
            reasons = "".join(f"\n  - {problem}" for problem in problems)
            return {"failed": True, "msg": f"Nothing was changed. The account does not fit the settings:{reasons}"}
        return account
