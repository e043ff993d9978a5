# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the same name, and shows its progress while it runs and a table at the end.

The module answers only when it ends, so it writes its progress to a pipe meanwhile. Where it runs on another machine
nothing is shown until then; the result is the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.plugin_utils import afterwards
from ansible_collections.algo.trading.plugins.plugin_utils.warm_action import WarmAction

display = Display()

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


class ActionModule(WarmAction):
    def answer(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        check, show = self._task.check_mode, arguments.get("show_table", "changed")
        summary = arguments.pop("summary", "")
        meanwhile = None
        if self.on_controller and not check and not arguments.get("progress_file"):
            progress, end = os.pipe()
            arguments["progress_file"] = f"/dev/fd/{end}"
            meanwhile = partial(_show, progress, end)
        result = self.run_module(self._task.resolved_action, arguments, variables, meanwhile=meanwhile)
        if not check and show != "none" and not self._task.no_log:
            for line in table(result.get("servers") or [], changed_only=show == "changed"):
                display.display(line)
        return afterwards.summarized(self._templar, variables, summary, result)


def _show(progress: int, end: int) -> None:
    """Display lines as they come, until the module, which now has the only other end of the pipe, is gone."""
    os.close(end)
    with os.fdopen(progress, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            display.display(f"  fleet: {_printable(line.rstrip())}")


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
    text = _printable(text)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _printable(text: str) -> str:
    """Names come from a bucket, which others write to."""
    return "".join(char if char.isprintable() else "?" for char in text)
