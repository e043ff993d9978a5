# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shows the progress of ``algo.trading.model_fleet`` while it runs, and a table at the end.

The module itself runs in a process of its own, whose output Ansible keeps until it ends. So it writes its progress to a
file, which is read here meanwhile. Where the module runs on another machine there is nothing to read, and nothing is
shown; the result is the same.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.plugin_utils import lifeline

display = Display()

_LOOK_SECONDS = 0.5
_COLUMNS = (
    ("MODEL", "name"),
    ("ACTION", "action"),
    ("INSTANCE", "instance_id"),
    ("STATE", "state"),
    ("TYPE", "instance_type"),
    ("ZONE", "availability_zone"),
    ("ADDRESS", "private_ip_address"),
    ("VERSION", "version"),
    ("REASON", "reason"),
)
_CELL = 60


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        lifeline.hold()
        arguments = dict(self._task.args)
        show = arguments.get("show_table", "changed")
        local = self._connection.transport == "local" and not self._play_context.become
        if local and not arguments.get("progress_file") and not self._task.check_mode:
            with _shown_progress() as path:
                arguments["progress_file"] = path
                answer = self._execute_module("algo.trading.model_fleet", module_args=arguments, task_vars=task_vars)
        else:
            answer = self._execute_module("algo.trading.model_fleet", module_args=arguments, task_vars=task_vars)
        result.update(answer)
        # The path is this run's own, and gone.
        result.get("invocation", {}).get("module_args", {}).pop("progress_file", None)
        if not self._task.check_mode and show != "none" and not self._task.no_log:
            for line in table(result.get("servers") or [], changed_only=show == "changed"):
                display.display(line)
        return result


def table(servers: Sequence[Mapping[str, Any]], *, changed_only: bool) -> list[str]:
    """One line per server, aligned, with the number of those that are not shown."""
    shown = [row for row in servers if not changed_only or row["action"] != "no-op" or row["problem"]]
    if not shown:
        return []
    rows = [[_cell(row, key) for _title, key in _COLUMNS] for row in shown]
    titles = [title for title, _key in _COLUMNS]
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [titles, *rows]]
    left = len(servers) - len(shown)
    if left:
        lines.append(f"({left} more servers are up to date)")
    return [line.rstrip() for line in lines]


def _cell(row: Mapping[str, Any], key: str) -> str:
    text = str((row["problem"] if key == "reason" else "") or row.get(key) or "-")
    # Names come from a bucket, which others write to.
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


@contextmanager
def _shown_progress() -> Iterator[str]:
    """A file whose lines are displayed as they come."""
    with tempfile.TemporaryDirectory(prefix="algo-fleet-") as folder:
        path = Path(folder) / "progress"
        path.touch()
        over = threading.Event()
        reader = threading.Thread(target=_follow, args=(path, over), daemon=True)
        reader.start()
        try:
            yield str(path)
        finally:
            over.set()
            reader.join(timeout=5)


def _follow(path: Path, over: threading.Event) -> None:
    with path.open(encoding="utf-8", errors="replace") as stream:
        rest = ""
        last = False
        while True:
            rest += stream.read()
            *lines, rest = rest.split("\n")
            for line in lines:
                display.display(f"  fleet: {line}")
            if last:
                return
            last = over.wait(_LOOK_SECONDS)
