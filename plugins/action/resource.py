# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``algo.trading.resource``: ``algo.trading.resources`` for one."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.action.resources import ActionModule as ResourcesAction
from ansible_collections.algo.trading.plugins.plugin_utils.resource_plan import SPEC


class ActionModule(ResourcesAction):
    _VALID_ARGS = frozenset({*SPEC, "resources"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        self._task.args = {"resources": [{**self._task.args, "id": "one"}]}
        answer = super().run(tmp, task_vars)
        answer["resource"] = answer.pop("resources")["one"]
        return answer
