# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads Ansible's own objects, by their attributes only; nothing of Ansible is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Without Ansible's tagged types, which no serializer of others knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)


def task_name(task: Any) -> str:
    """The task's name without the role in front: the play's name says where we are."""
    return str(task.name or task.get_name()).strip()


def result_name(result: Any) -> str:
    """The same, as templated for the host of a result."""
    name, role = str(result.task_name).strip(), result.task._role
    return name.removeprefix(f"{role.get_name()} : ").removeprefix(f"{role} : ") if role else name


def task_path(task: Any) -> str:
    """File and line, from here where that is shorter."""
    return str(task.get_path() or "").removeprefix(f"{Path.cwd()}/")


def hints(exception: Any) -> list[str]:
    """The remedies that Ansible attaches to its own errors, outermost first."""
    found = []
    event = getattr(exception, "event", None)
    while event is not None:
        if getattr(event, "help_text", None):
            found.append(str(event.help_text))
        event = getattr(getattr(event, "chain", None), "event", None)
    return found


def bare_diffs(diff: Any) -> list[Any]:
    """A result's diffs; settings lose their headers, as they stand under the name of their thing."""
    diffs = diff if isinstance(diff, list) else [diff]
    return [{"before": d["before"], "after": d["after"]} if _of_settings(d) else d for d in diffs]


def _of_settings(diff: Mapping[str, Any]) -> bool:
    return isinstance(diff.get("before"), Mapping) and isinstance(diff.get("after"), Mapping)


def will_be_rescued(task: Any) -> bool:
    """Whether a block around the task has a rescue for it. A forecast: the recap knows, and is asked at the end."""
    inner, outer = task, getattr(task, "_parent", None)
    while outer is not None:
        if getattr(outer, "rescue", None) and any(inner._uuid == other._uuid for other in outer.block):
            return True
        inner, outer = outer, getattr(outer, "_parent", None)
    return False
