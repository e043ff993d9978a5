# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan lines and failures, as they are read from the results of tasks."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Action:
    """How one kind of action is shown and counted."""

    symbol: str
    todo: str
    done: str
    changes: bool = True
    # Counted even when there is none of it, so that the last line always has the same shape.
    always: bool = False


# In the order in which they are counted.
ACTIONS: dict[str, Action] = {
    "create": Action("+", "to create", "created", always=True),
    "adopt": Action("+", "to adopt", "adopted"),
    "update": Action("~", "to change", "changed", always=True),
    "reconfigure": Action("~", "to reconfigure", "reconfigured"),
    "replace": Action("±", "to replace", "replaced", always=True),
    "delete": Action("−", "to remove", "removed", always=True),  # noqa: RUF001 - as wide as the plus
    "start": Action("▸", "to start", "started"),
    "restart": Action("↻", "to restart", "restarted"),
    "stop": Action("■", "to stop", "stopped"),
    "hold": Action("=", "held back", "held back", changes=False),
    "refuse": Action("!", "refused", "refused", changes=False),
    "no-op": Action(" ", "unchanged", "unchanged", changes=False, always=True),
}
_SAME = {"terminate": "delete", "remove": "delete", "change": "update", "keep": "no-op", "none": "no-op"}
# The type of what a module changed without saying more than `changed`.
TASK = "task"
_HIDDEN = "The message is hidden, because the task has no_log set. To see it, run the task without no_log."
_TAIL = 15
# Names whose values are never shown, should a task hand them over in spite of no_log.
SECRET = re.compile(r"(password|passwd|secret|token|(private|secret|api)_?key|credentials?|secret_string)$", re.I)
HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Line:
    """One decision about one resource."""

    action: str
    type: str
    name: str
    component: str = ""
    reasons: tuple[str, ...] = ()
    id: str = ""
    host: str = ""
    task: str = ""
    # planned: check mode; done: carried out; failed: the task failed before or while doing it; not started: it did
    # not come to this, and the reason says why.
    status: str = "done"
    # A unified diff for the screen; it may be long, and the file for machines does without.
    diff: str = field(default="", compare=False, repr=False)
    # Shown by the task itself, as soon as it was done.
    shown: bool = field(default=False, compare=False)
    # How long it took, where the task tells.
    seconds: float | None = field(default=None, compare=False)

    @property
    def changes(self) -> bool:
        known = ACTIONS.get(self.action)
        return known.changes if known else True

    def as_dict(self) -> dict[str, Any]:
        hidden = {"diff", "shown"} if self.seconds is not None else {"diff", "shown", "seconds"}
        fields = {name: value for name, value in vars(self).items() if name not in hidden}
        return fields | {"reasons": list(self.reasons)}


def lines_of(
    result: Mapping[str, Any],
    *,
    host: str,
    task: str,
    planned: bool = False,
    failed: bool = False,
    item: str = "",
    diffs: Sequence[str] = (),
) -> list[Line]:
    """The plan that a task's result carries; a line of its own for a module that only says that it changed.

    :param diffs: one for each line that changes something, or what belongs to all of them together.
    """
    status = "planned" if planned else "done"
    given = result.get("plan")
    rows = [row for row in given if _is_line(row)] if isinstance(given, list) else []
    lines = [line_of(row, host, task, "failed" if failed else status) for row in rows]
    changing = [number for number, line in enumerate(lines) if line.changes]
    if len(diffs) != len(changing):
        changing, diffs = changing[-1:], ["".join(diffs)]
    for number, diff in zip(changing, diffs, strict=False):
        lines[number] = replace(lines[number], diff=diff)
    if failed or not result.get("changed") or changing:
        return lines
    name = f"{task} ({item})" if item else task
    return [*lines, Line("update", TASK, name, host=host, task=task, status=status, diff="".join(diffs))]


def _is_line(row: Any) -> bool:
    return isinstance(row, Mapping) and bool(row.get("action")) and bool(row.get("name") or row.get("model"))


def line_of(row: Mapping[str, Any], host: str = "", task: str = "", status: str = "done") -> Line:
    """A line as a task's result has it."""
    action = str(row["action"])
    reasons = row.get("reasons") or row.get("reason") or ()
    if isinstance(reasons, str):
        reasons = (reasons,)
    return Line(
        action=_SAME.get(action, action),
        type=str(row.get("type") or ("trading server" if row.get("model") else "")),
        name=str(row.get("name") or row.get("model")),
        component=str(row.get("component") or host),
        reasons=tuple(_reason(str(reason)) for reason in reasons),
        id=str(row.get("id") or row.get("instance_id") or ""),
        host=host,
        task=task,
        # A task that fails half-way may say of each line how far it came.
        status=str(row.get("status") or status),
        shown=bool(row.get("shown")),
        seconds=row.get("seconds"),
    )


def _reason(text: str) -> str:
    name = text.split(":")[0]
    return f"{name}: {HIDDEN}" if name != text and SECRET.search(name) else text


def count(lines: Iterable[Line], *statuses: str) -> dict[str, int]:
    """How many lines there are of each action, of the given statuses only; refusals and holds count in any."""
    found = Counter(line.action for line in lines if not statuses or line.status in statuses or line.action == "refuse")
    counts = {name: found.pop(name, 0) for name, action in ACTIONS.items() if action.always or name in found}
    return counts | dict(sorted(found.items()))


@dataclass(frozen=True)
class Failure:
    """A task that failed, or a host that could not be reached."""

    host: str
    task: str
    message: str
    kind: str = "failed"
    path: str = ""
    item: str = ""
    details: tuple[str, ...] = ()
    # Both may be true of a failure that did not end the run.
    ignored: bool = False
    rescued: bool = False

    @property
    def counts(self) -> bool:
        return not (self.ignored or self.rescued)

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "details": list(self.details)}


def failure_of(result: Mapping[str, Any], *, host: str, task: str, hints: Iterable[str] = (), **more: Any) -> Failure:
    """What there is to say about a failed result: the message in full, then what the program itself wrote."""
    if "censored" in result:
        return Failure(host, task, _HIDDEN, **more)
    message = str(result.get("msg") or result.get("reason") or "").strip()
    for prefix in ("Task failed: ", "Action failed: ", "Module failed: "):
        message = message.removeprefix(prefix)
    details = [hint for hint in hints if hint and hint not in message]
    if result.get("rc") not in (None, 0) and result.get("cmd"):
        command = result["cmd"]
        details.append(f"command: {command if isinstance(command, str) else shlex.join(map(str, command))}")
    for name in ("stderr", "module_stderr", "stdout", "module_stdout"):
        text = str(result.get(name) or "").strip()
        if text and text not in message:
            details.extend(_tail(name.removeprefix("module_"), text))
    if not message:
        held = "failed_when" if result.get("failed_when_result") else "module"
        message = f"The task gave no message; its {held} reports a failure."
    return Failure(host, task, message, details=tuple(details), **more)


def _tail(name: str, text: str) -> list[str]:
    lines = text.splitlines()
    if len(lines) == 1:
        return [f"{name}: {lines[0]}"]
    left = len(lines) - _TAIL
    head = f"{name} (the last {_TAIL} of {len(lines)} lines; -v shows all):" if left > 0 else f"{name}:"
    return [head, *(f"  {line}" for line in lines[-_TAIL:])]
