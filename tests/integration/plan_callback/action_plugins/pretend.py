"""Returns what it is told to, the way the actions and modules of this collection return a plan."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        given = dict(self._task.args)
        time.sleep(float(given.pop("seconds", 0)))
        models = int(given.pop("models", 0))
        if models:
            given["plan"] = [
                {
                    "action": "create",
                    "type": "trading server",
                    "name": f"momentum/AAPL/sma{number}-outer_0_inner_1",
                    "component": "trading_server",
                    "reasons": ["no instance"],
                }
                for number in range(models)
            ]
        changes = {"create", "update", "replace", "delete", "start", "stop"}
        answer["changed"] = any(line["action"] in changes for line in given.get("plan", []))
        return {**answer, **given}
