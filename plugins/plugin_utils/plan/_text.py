# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans and failures as lines of text, in styles that the callback turns into colours."""

from __future__ import annotations

import difflib
import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from ._ansible import plain
from ._lines import ACTIONS, HIDDEN, SECRET, TASK, Failure, Line

# One line: (style, text) pieces. A style is an action's name, or plain, title, ok, error, warning, dim, add, remove.
Text = list[tuple[str, str]]

_SHOWN = 3
_DIFF_LINES = 80
_NAME_WIDTH = 56


def clean(text: object) -> str:
    """Text on one line without control characters: names come from buckets and tags, which anybody may have written."""
    return "".join(_printable(character) for character in str(text).replace("\n", " ").replace("\t", " "))


def _printable(character: str) -> str:
    return "�" if unicodedata.category(character) in {"Cc", "Cs"} or "\u202a" <= character <= "\u202e" else character


def cells(text: str) -> int:
    """The width of a text on a terminal."""
    return sum(
        0 if unicodedata.category(c) in {"Mn", "Me", "Cf"} else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def pad(text: str, width: int) -> str:
    return text + " " * (width - cells(text))


def wrap(text: str, indent: int, width: int) -> list[str]:
    """Lines of at most ``width``, long words unbroken: an ARN has to survive copy and paste."""
    room = max(width - indent, 20)
    return [
        " " * indent + line
        for paragraph in text.splitlines() or [""]
        for line in textwrap.wrap(clean(paragraph), room, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def line_text(line: Line, width: int, *, type_width: int = 0, name_width: int = 0) -> list[Text]:
    """One plan line; the reasons stand behind it where they fit and under it where they don't."""
    action = ACTIONS.get(line.action)
    kind = clean(line.type) if action else clean(f"{line.action} {line.type}")
    name = clean(line.name)
    text: Text = [("plain", "  "), (line.action, f"{action.symbol if action else '~'} {pad(kind, type_width)}")]
    text.append(("plain", f"  {name}"))
    if line.type == TASK and line.host:
        text.append(("dim", f"  on {clean(line.host)}"))
    if line.status == "failed" and line.action != "refuse":
        text.append(("error", "  (failed)"))
    diff = diff_text(line.diff, 6, _DIFF_LINES)
    reasons = [clean(reason) for reason in line.reasons]
    if not reasons:
        return [text, *diff]
    behind = pad("", name_width - cells(name)) + "  " + "; ".join(reasons)
    if sum(cells(part) for _style, part in text) + cells(behind) <= width:
        return [[*text, ("dim", behind)], *diff]
    under = 4 + type_width + 2
    return [text, *([("dim", part)] for reason in reasons for part in wrap(reason, under, width)), *diff]


def lines_text(lines: Sequence[Line], width: int, group_above: int, *, type_width: int = 0) -> list[Text]:
    """Plan lines with equal ones drawn together, aligned; more than ``group_above`` of a kind are summarised."""
    lines = _together(lines)
    many = {key for key, found in _by(lines, _same_reason).items() if len(found) > group_above}
    alike = _by([line for line in lines if _same_reason(line) not in many], _same_kind)
    many |= {key for key, found in alike.items() if len(found) > group_above}
    single = [line for line in lines if not {_same_reason(line), _same_kind(line)} & many]
    type_width = max((type_width, *(cells(line.type) for line in single)))
    name_width = min(max((cells(line.name) for line in single), default=0), _NAME_WIDTH)
    texts: list[Text] = []
    told: set[tuple[object, ...]] = set()
    for line in lines:
        key = next((key for key in (_same_reason(line), _same_kind(line)) if key in many), None)
        if key is None:
            texts += line_text(line, width, type_width=type_width, name_width=name_width)
        elif key not in told:
            told.add(key)
            mine = [other for other in lines if key in {_same_reason(other), _same_kind(other)}]
            if len(key) == 2:
                mine = [other for other in mine if _same_reason(other) not in many]
            texts += _crowd_text(mine, width, type_width, same_reason=len(key) == 3)
    return texts


def _same_kind(line: Line) -> tuple[object, ...]:
    return (line.action, line.type)


def _same_reason(line: Line) -> tuple[object, ...]:
    return (line.action, line.type, line.reasons)


def _by(lines: Iterable[Line], key: Any) -> dict[tuple[object, ...], list[Line]]:
    found: dict[tuple[object, ...], list[Line]] = {}
    for line in lines:
        found.setdefault(key(line), []).append(line)
    return found


def _together(lines: Sequence[Line]) -> list[Line]:
    """The same task on many hosts becomes one line."""
    hosts: dict[tuple[str, ...], list[str]] = {}
    for line in lines:
        if line.type == TASK:
            hosts.setdefault((line.action, line.name, line.status, line.diff), []).append(line.host)
    merged = []
    for line in lines:
        if line.type == TASK:
            where = hosts.pop((line.action, line.name, line.status, line.diff), None)
            if where is None:
                continue
            line = replace(line, host=_some(where))
        merged.append(line)
    return merged


def _some(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    if len(names) <= _SHOWN + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"


def _crowd_text(lines: Sequence[Line], width: int, type_width: int, *, same_reason: bool) -> list[Text]:
    first = lines[0]
    reasons = first.reasons if same_reason else ("for various reasons; all of them with -v and in the JSON file",)
    names = _some([line.name for line in lines])
    crowd = f"{len(lines)} × {first.type}"  # noqa: RUF001 - "times", not an x
    text = Line(first.action, crowd, names, reasons=reasons, status=first.status)
    return line_text(text, width, type_width=type_width)


def plan_text(lines: Sequence[Line], order: Sequence[str], width: int, group_above: int) -> list[Text]:
    """The whole plan under its components' names, those of ``order`` first; unchanged resources are only counted."""
    shown = [line for line in lines if line.action != "no-op"]
    if not shown:
        return []
    first = {name: number for number, name in enumerate(order)}
    found = list(dict.fromkeys(line.component for line in shown))
    # What plain modules do on hosts belongs to no component and comes last.
    found.sort(key=lambda name: (not name, first.get(name, len(first))))
    used = [action for name, action in ACTIONS.items() if any(line.action == name for line in shown)]
    legend = dict.fromkeys(f"{action.symbol} {action.todo.removeprefix('to ')}" for action in used)
    texts: list[Text] = [[("dim", "   ".join(legend))]]
    for component in found:
        texts += [[], [("title", clean(component) if component else "Other steps")]]
        texts += lines_text([line for line in shown if line.component == component], width, group_above)
    return texts


def count_text(counts: Mapping[str, int], *, todo: bool) -> str:
    """``41 to create, 2 to change, 0 to replace, 1 to remove, 12 unchanged``"""
    words = []
    for name, number in counts.items():
        action = ACTIONS.get(name)
        words.append(f"{number} {(action.todo if todo else action.done) if action else clean(name)}")
    return ", ".join(words)


def failure_name(failure: Failure) -> str:
    """What kind of failure, which task on which host."""
    item = f" (item {clean(failure.item)})" if failure.item else ""
    word = "UNREACHABLE" if failure.kind == "unreachable" else "FAILED"
    return f"{word}  {clean(failure.host)}: {clean(failure.task)}{item}"


def failure_text(failure: Failure, width: int) -> list[Text]:
    """Which task on which host, then the message in full, then what helps to find the cause."""
    style = "error" if failure.counts else "warning"
    texts: list[Text] = [[(style, f"✗ {failure_name(failure)}")]]
    texts += [[(style, part)] for part in wrap(failure.message, 4, width)]
    texts += [[("plain", f"    {clean(detail)}")] for detail in failure.details]
    if failure.path:
        texts.append([("dim", f"    at {clean(failure.path)}")])
    if failure.ignored:
        texts.append([("dim", "    ignored: the run continues")])
    elif failure.rescued:
        texts.append([("dim", "    handled by the play's rescue: the run continues")])
    return texts


def masked(value: Any, name: str = "") -> Any:
    """A copy for the screen without what looks like a secret by its name."""
    if isinstance(value, Mapping):
        return {key: masked(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, name) for item in value]
    return HIDDEN if isinstance(value, str) and value and SECRET.search(name) else value


def settings_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """A unified diff of two sets of settings, as YAML and without what looks like a secret."""
    old, new = (
        yaml.safe_dump(masked(plain(settings)), allow_unicode=True, sort_keys=True, width=1000).splitlines()
        if settings
        else []
        for settings in (before, after)
    )
    changed = difflib.unified_diff(old, new, lineterm="")
    return "".join(f"{line[0]} {line[1:]}\n" for line in changed if not line.startswith(("---", "+++", "@@")))


def diff_text(diff: str, indent: int, limit: int) -> list[Text]:
    """A diff as it is, coloured by its marks; at most ``limit`` lines, 0 for all."""
    styles = {"+": "add", "-": "remove"}
    texts: list[Text] = [
        [(styles.get(line[0], "plain"), " " * indent + line)] for line in map(clean, diff.splitlines()) if line
    ]
    if limit and len(texts) > limit:
        left = len(texts) - limit
        texts = [*texts[:limit], [("dim", f"{' ' * indent}… ({left} more lines; -v shows all)")]]
    return texts
