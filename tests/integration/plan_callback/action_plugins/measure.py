"""Shows how wide an action takes the screen to be: its process has no terminal itself."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.algo.trading.plugins.plugin_utils import screen


class ActionModule(ActionBase):
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = super().run(tmp, task_vars)
        self._display.display(f"room for {screen.width()}")
        return answer
