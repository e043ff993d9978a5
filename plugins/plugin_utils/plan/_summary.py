# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The closing summary: what runs where, from what the roles handed over with ``ansible.builtin.set_stats``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ._text import Text, cells, clean, pad

_GAP = "  "
_BAD = frozenset({"failed", "unhealthy", "unreachable", "impaired", "unknown", "not configured", "booting"})
_USUAL = frozenset({"", "active", "trading"})
_VERSION = 7  # characters of a version that tell it from others
_MODEL_COLUMNS = ("instance", "instance_type", "address", "state", "version")


def summary_text(summary: Mapping[str, Any], order: Sequence[str], width: int, group_above: int) -> list[Text]:
    """What runs where. Unknown keys are left to the JSON file."""
    texts: list[Text] = []
    head = [clean(summary[key]) for key in ("project", "environment", "region") if summary.get(key)]
    if summary.get("account"):
        head.append(f"account {clean(summary['account'])}")
    if summary.get("endpoint"):
        head.append(clean(summary["endpoint"]))
    if head:
        texts += [[("title", " · ".join(head))], []]
    texts += _components(_mapping(summary.get("components")), order, width)
    texts += _models(_mapping(summary.get("models")), width, group_above)
    texts += _hosts(_mapping(summary.get("hosts")), width, group_above)
    for key, style, mark in (("notes", "plain", "·"), ("warnings", "warning", "!")):
        found = [clean(text) for text in _items(summary.get(key))]
        texts += [[(style, f"{mark} {text}")] for text in found]
        texts += [[]] if found else []
    return texts


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    """What set_stats merged: a dict's values (keys keep several writers apart), a list, or one text."""
    if isinstance(value, Mapping):
        return [item for item in value.values() if item]
    return [item for item in value if item] if isinstance(value, list | tuple) else [value] if value else []


def _components(components: Mapping[str, Any], order: Sequence[str], width: int) -> list[Text]:
    first = {name: number for number, name in enumerate(order)}
    rows: list[list[str]] = []
    for component in sorted(components, key=lambda name: (first.get(name, len(first)), name)):
        shown = component
        for what, value in _mapping(components[component]).items():
            thing = value if isinstance(value, Mapping) else {"where": value}
            rows.append([shown, what, *(thing.get(key) or "" for key in ("where", "state", "note"))])
            shown = ""
    return _table(["component", "what", "where", "state", ""], rows, width)


def _models(models: Mapping[str, Any], width: int, group_above: int) -> list[Text]:
    if not models:
        return []
    rows = {name: _mapping(value) for name, value in models.items()}
    states = Counter(str(row.get("state") or "unknown") for row in rows.values())
    told = ", ".join(f"{number} {clean(state)}" for state, number in states.most_common())
    texts: list[Text] = [[("title", f"{len(rows)} trading server{'s' if len(rows) != 1 else ''}: {told}")]]
    if len(rows) > group_above:
        usual = states.most_common(1)[0][0]
        by_type = Counter(name.split("/")[0] for name in rows)
        told = ", ".join(f"{clean(kind)} {number}" for kind, number in sorted(by_type.items()))
        texts.append([("plain", f"  {told}")])
        odd = {name: row for name, row in rows.items() if str(row.get("state") or "unknown") != usual}
        left = max(len(odd) - group_above, 0)
        rows = dict(sorted(odd.items())[:group_above])
        if left:
            texts.append([("warning", f"  {left} more that are not {clean(usual)}: see the JSON file")])
    known = [column for column in _MODEL_COLUMNS if any(row.get(column) for row in rows.values())]
    table = [[name, *(row.get(column) or "" for column in known)] for name, row in sorted(rows.items())]
    heads = ["model", *(column.replace("_", " ") for column in known)]
    return [*texts, *_table(heads, table, width)] if table else [*texts, []]


def _hosts(hosts: Mapping[str, Any], width: int, group_above: int) -> list[Text]:
    """How each host is. Of many, only those that are not healthy."""
    if not hosts:
        return []
    rows = {name: _mapping(value) for name, value in hosts.items()}
    healths = Counter(str(row.get("health") or "unknown") for row in rows.values())
    told = ", ".join(f"{number} {clean(health)}" for health, number in healths.most_common())
    texts: list[Text] = [[("title", f"{len(rows)} host{'s' if len(rows) != 1 else ''}: {told}")]]
    if len(rows) > group_above:
        rows = {name: row for name, row in rows.items() if row.get("health") != "healthy"}
        rows = dict(sorted(rows.items())[:group_above])
    alone = Counter(str(row.get("component")) for row in hosts.values() if isinstance(row, Mapping))
    shown = [
        (_host(name, row, alone[str(row.get("component"))] == 1), _why(row))
        for name, row in sorted(rows.items(), key=lambda item: (str(item[1].get("component")), item[0]))
    ]
    heads = ["host", "version", "health", "last work", "lag", "orders", "fills", "position", "P&L"]
    return [*texts, *_table(heads, [cells for cells, _why in shown], width, [why for _cells, why in shown])]


def _host(name: str, row: Mapping[str, Any], alone: bool) -> list[str]:
    """A row. What it trades says more of a host than its name does; the only host of a component is named by that."""
    known = row.get("model") or (row.get("component") if alone else "")
    money = _mapping(row.get("profit_and_loss")).get("total")
    return [
        str(known or name),
        _cell(row.get("version"))[:_VERSION],
        str(row.get("health") or "unknown"),
        _ago(row.get("last_work_age")) or _cell(row.get("last_work")),
        _ago(row.get("feed_lag")),
        _cell(row.get("orders")),
        _cell(row.get("fills")),
        f"{_number(row.get('position'))} {_cell(row.get('symbol'))}".strip(),
        f"{money:+.2f}" if isinstance(money, int | float) else "",
    ]


def _why(row: Mapping[str, Any]) -> str:
    """What is not as usual."""
    state = _cell(row.get("state"))
    parts = ["" if state in _USUAL else state, _cell(row.get("reason")) or _cell(row.get("failed_units"))]
    return ": ".join(part for part in dict.fromkeys(parts) if part)


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else _cell(value)


def _ago(seconds: Any) -> str:
    """How long, in the largest unit that says enough."""
    if not isinstance(seconds, int | float):
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_cell(each) for each in value)
    return "" if value is None else str(value)


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]], width: int, notes: Sequence[str] = ()) -> list[Text]:
    """Columns as wide as their contents. Where they do not fit, a row takes two lines; nothing is cut.

    :param notes: one for each row, shown below it; empty for none
    """
    table = [[clean(value) for value in row] for row in rows]
    if not table:
        return []
    keep = [index for index in range(len(heads)) if any(row[index] for row in table)]
    widths = {index: max(cells(heads[index]), *(cells(row[index]) for row in table)) for index in keep}
    fits = 2 + sum(widths.values()) + len(_GAP) * (len(keep) - 1) <= width
    heading = _GAP.join(pad(heads[index], widths[index]) for index in keep).rstrip()
    texts: list[Text] = [[("dim", f"  {heading}")]] if fits else []
    for row, note in zip_longest(table, notes, fillvalue=""):
        below: list[Text] = [[(_style(row), f"      {clean(note)}")]] if note else []
        if fits:
            line = f"  {_GAP.join(pad(row[index], widths[index]) for index in keep)}".rstrip()
            texts += [[(_style(row), line)], *below]
            continue
        # A row's first cell is empty where it is the one above's.
        head = [row[index] for index in keep[:1] if row[index]]
        texts += [[("plain", f"  {name}")] for name in head]
        texts += [[(_style(row), f"    {' · '.join(row[index] for index in keep[1:] if row[index])}")], *below]
    return [*texts, []]


def _style(row: Sequence[str]) -> str:
    """Only failed rows are coloured, so that they stand out."""
    return "warning" if any(cell in _BAD for cell in row) else "plain"
