# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of ``algo.trading.environment_health``; its documentation stands beside it in
``plugins/modules``."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES, to_verify, unhealthy, unsettled
from ansible_collections.algo.trading.plugins.plugin_utils import afterwards, run_record
from ansible_collections.algo.trading.plugins.plugin_utils.warm_action import WarmAction

_READ = ("changed", "all")


class ActionModule(WarmAction):
    """Reads what has to be read again, and judges it together with what is known."""

    def answer(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        summary = arguments.pop("summary", "")
        return afterwards.summarized(self._templar, variables, summary, self._judge(arguments, variables))

    def _judge(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        read = arguments.pop("read", _READ[0])
        if read not in _READ:
            raise AnsibleActionFail(f"read is {read!r}. Use one of {', '.join(_READ)}.")
        if self._task.check_mode and read != "all":
            return {"changed": False, "read": [], "unhealthy": [], "unsettled": []}
        account = variables.get("algo_account") or {}
        state = dict(account.get("resources") or {})
        changed = run_record.changed()
        everything = read == "all" or changed is None or not state
        modules = sorted(TYPES) if everything else to_verify(state, changed or ())
        missing = account.get("missing", ())
        modules = [module for module in modules if module not in missing]
        if modules:
            found = self.run_module("algo.trading.environment_info", arguments | {"modules": modules}, variables)
            if found.get("failed"):
                return found
            state |= found["resources"]
        return {"changed": False, "read": modules, "unhealthy": unhealthy(state), "unsettled": unsettled(state)}
