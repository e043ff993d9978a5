# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action beside a module of ours: on the controller it runs in a warm fork, elsewhere as Ansible does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.algo.trading.plugins.plugin_utils import lifeline, warm_module


class WarmAction(ActionBase):
    """Runs the module of the task's own name."""

    _supports_check_mode = True
    _supports_diff = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        lifeline.hold()
        result.update(self.answer(dict(self._task.args), dict(task_vars or {})))
        return result

    def answer(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """The task's result."""
        return self.run_module(self._task.resolved_action, arguments, variables)

    @property
    def on_controller(self) -> bool:
        return self._connection.transport == "local" and not self._play_context.become

    def run_module(
        self,
        module: str,
        arguments: dict[str, Any],
        variables: dict[str, Any],
        environment: Mapping[str, str] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, Any]:
        """Run a module by its fully qualified name, in a warm fork where that is possible.

        :param environment: variables that the module gets besides the task's own.
        :param meanwhile: called on the controller while a fork runs the module.
        """
        if not self.on_controller:
            answer: dict[str, Any] = self._execute_module(module, module_args=arguments, task_vars=variables)
            return answer
        complete = {name: value for name, value in arguments.items() if value is not None}
        self._update_module_args(module, complete, variables)
        given = {name: str(value) for part in self._task.environment or () for name, value in part.items()}
        return warm_module.run(warm_module.Call(module, complete, {**given, **(environment or {})}), meanwhile)
