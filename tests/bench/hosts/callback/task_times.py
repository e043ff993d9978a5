# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes each task's results and how long its hosts took, in the file that BENCH_TASKS names."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_times
type: aggregate
short_description: Notes what a run's tasks took
description: For the benchmark of hosts.
author: [The algo.trading authors]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "task_times"

    def __init__(self) -> None:
        super().__init__()
        self._began: dict[tuple[str, str], float] = {}
        self._tasks: dict[str, dict[str, Any]] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._began[host.get_name(), task._uuid] = time.monotonic()

    def _ended(self, result: Any, *_: Any, skipped: bool = False, **__: Any) -> None:
        task, host = result._task, result._host.get_name()
        took = time.monotonic() - self._began.pop((host, task._uuid), time.monotonic())
        row = self._tasks.setdefault(task.get_name(), {"results": 0, "changed": 0, "skipped": 0, "seconds": []})
        row["results"] += 1
        row["changed"] += bool(result._result.get("changed"))
        row["skipped"] += skipped
        row["seconds"].append(round(took, 3))

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = _ended

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._ended(result, skipped=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        Path(os.environ["BENCH_TASKS"]).write_text(json.dumps(self._tasks))
