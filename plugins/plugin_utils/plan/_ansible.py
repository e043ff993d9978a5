# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads Ansible's own objects, by their attributes only; nothing of Ansible is imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


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


def diff_of(diff: Any, render: Callable[[Any], str]) -> str:
    """A result's diff as text for the screen. What a module has prepared is shown as it is.

    :param render: Ansible's own way from ``before`` and ``after`` to a unified diff.
    """
    text = ""
    for given in diff if isinstance(diff, list) else [diff]:
        computed = {name: value for name, value in given.items() if name != "prepared"}
        if _of_settings(computed):
            # Without headers: settings stand under the name of their resource.
            computed = {"before": computed["before"], "after": computed["after"]}
        text += "".join(f"{line}\n" for line in _unified(render([computed]))) + str(given.get("prepared", ""))
    return text


def _unified(diff: str) -> Iterable[str]:
    """A unified diff without the parts that mean nothing here, its marks set off from the text."""
    for raw in diff.splitlines():
        line = _ANSI.sub("", raw)
        if not line or line.startswith("@@") or line.rstrip() in {"--- before", "+++ after"}:
            continue
        if line == r"\ No newline at end of file":
            continue
        yield f"{line[0]} {line[1:]}" if line[0] in "+- " and line[:4] not in {"--- ", "+++ "} else line


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
