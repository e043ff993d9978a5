"""The picture of who ran when: one panel for each day, on the exchange's time. SVG, with nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from html import escape
from zoneinfo import ZoneInfo

from . import record
from .record import Day, Invocation, Row

WIDTH, LEFT, RIGHT = 1140, 320, 24
_ROW, _HEAD, _AXIS, _GAP = 19, 46, 30, 26
_FIRST, _LAST = 8.5, 17.25  # hours of the exchange's day
COLOURS = {
    record.BOOTING: "#f2c879",
    record.RUNNING: "#5b8fcf",
    record.WORKING: "#4c9f7c",
    record.UNHEALTHY: "#d8604f",
    record.STOPPING: "#9aa5b1",
}
_WORDS = {
    record.BOOTING: "boots",
    record.RUNNING: "runs (a record without a host)",
    record.WORKING: "runs, healthy",
    record.UNHEALTHY: "not healthy",
    record.STOPPING: "stops",
}
_INK, _SOFT, _LINE, _ALARM = "#1f2933", "#616e7c", "#e4e7eb", "#b42318"
_TITLES = {
    "alpaca_websocket": "function alpaca_websocket",
    "trading_server": "function trading_server",
    "trading_server_shutdown": "function trading_server_shutdown",
}
# Alerts that come this close to each other share one mark.
_NEAR = 12.0


class _Axis:
    def __init__(self, day: Day) -> None:
        self.zone = ZoneInfo(day.zone)
        start = datetime(day.day.year, day.day.month, day.day.day, tzinfo=self.zone)
        self.begin = (start + timedelta(hours=_FIRST)).timestamp()
        self.end = (start + timedelta(hours=_LAST)).timestamp()

    def x(self, at: float) -> float:
        share = (at - self.begin) / (self.end - self.begin)
        return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)

    def hours(self) -> list[tuple[float, str]]:
        first = datetime.fromtimestamp(self.begin, self.zone).replace(minute=0)
        every = (first + timedelta(hours=number) for number in range(12))
        return [
            (self.x(each.timestamp()), f"{each:%H:%M}") for each in every if self.begin <= each.timestamp() < self.end
        ]

    def clock(self, at: float) -> str:
        return f"{datetime.fromtimestamp(at, self.zone):%H:%M}"


def draw(days: Sequence[Day], title: str) -> str:
    """The days below each other."""
    parts, y = [], 52.0
    for day in days:
        panel, y = _panel(day, y)
        parts += panel
        y += _GAP
    parts += _legend(days, y)
    height = int(y + 24)
    spoken = "; ".join(
        f"{day.day}: {day.note}, {sum(row.ran() for row in day.rows.values())} hosts ran" for day in days
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" '
        f'aria-labelledby="title desc" font-family="Helvetica, Arial, \'DejaVu Sans\', sans-serif" font-size="12" '
        f'fill="{_INK}">'
    )
    lines = [
        head,
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(spoken)}</desc>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(16, 30, title, size=17, weight="bold"),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panel(day: Day, y: float) -> tuple[list[str], float]:
    axis = _Axis(day)
    ran = [row for row in day.rows.values() if row.ran()]
    rows = sorted(ran, key=lambda row: (row.component == "trading_server", row.name))
    functions = [name for name in _TITLES if any(each.function == name for each in day.invocations)]
    top = y + _HEAD
    feed = 44.0 if day.feed else 0.0
    extra = int(bool(day.alerts)) + int(not rows)
    bottom = top + (len(functions) + len(rows) + extra) * _ROW + feed + 4
    out = [
        _text(16, y + 16, f"{day.day:%A}, {day.day.day} {day.day:%B %Y}", size=14, weight="bold"),
        _text(16, y + 33, _about(day, axis), fill=_SOFT),
        *_ground(day, axis, top, bottom),
    ]
    line = top
    for name in functions:
        out += _function(_TITLES[name], [each for each in day.invocations if each.function == name], axis, line)
        line += _ROW
    if day.alerts:
        out += _alerts(day, axis, line)
        line += _ROW
    if feed:
        out += _feed(day, axis, line, feed)
        line += feed
    for row in rows:
        out += _host(row, axis, line)
        line += _ROW
    if not rows:
        why = next((each.said for each in day.invocations if each.did_nothing), "")
        out.append(_text(LEFT + 8, line + 14, f"No host ran. {why[:1].upper()}{why[1:]}.", fill=_SOFT))
    out += [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}" stroke="{_SOFT}"/>',
        *(_text(x, bottom + 15, hour, anchor="middle", fill=_SOFT, size=11) for x, hour in axis.hours()),
        _text(LEFT - 10, bottom + 15, f"time, {day.zone}", anchor="end", fill=_SOFT, size=11),
    ]
    return out, bottom + _AXIS


def _about(day: Day, axis: _Axis) -> str:
    if day.opens is None or day.closes is None:
        return f"{day.note}: the exchange has no session"
    orders = f" · {day.orders} orders" if day.orders else ""
    return f"{day.note}: session {axis.clock(day.opens)} to {axis.clock(day.closes)}{orders}"


def _ground(day: Day, axis: _Axis, top: float, bottom: float) -> list[str]:
    out = []
    if day.opens is not None and day.closes is not None:
        left, right = axis.x(day.opens), axis.x(day.closes)
        box = f'x="{left}" y="{top - 4}" width="{round(right - left, 1)}" height="{round(bottom - top + 4, 1)}"'
        out.append(f'<rect {box} fill="#eef4fb"/>')
        out.append(_text(left + 4, top - 8, "open", fill=_SOFT, size=11))
        out.append(_text(right + 4, top - 8, "close", fill=_SOFT, size=11))
    for x, _hour in axis.hours():
        out.append(f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom + 4}" stroke="{_LINE}"/>')
    return out


def _function(title: str, runs: Sequence[Invocation], axis: _Axis, y: float) -> list[str]:
    """A full mark where it acted, a hollow one where the calendar gave it nothing to do."""
    out = [_label(title, y)]
    for run in runs:
        x, middle = axis.x(run.begin), y + _ROW / 2
        colour = _ALARM if not run.ok else _INK
        fill = "#fff" if run.did_nothing else colour
        said = escape(f"{axis.clock(run.begin)} {run.said}")
        out.append(
            f'<path d="M{x} {middle - 5.5} l5.5 5.5 -5.5 5.5 -5.5 -5.5z" fill="{fill}" stroke="{colour}" '
            f'stroke-width="1.4"><title>{said}</title></path>'
        )
    return out


def _alerts(day: Day, axis: _Axis, y: float) -> list[str]:
    out, last = [_label("alerts", y, _ALARM)], -1e9
    groups: list[list[float]] = []
    for alert in day.alerts:
        x = axis.x(alert.at)
        if x - last < _NEAR:
            groups[-1].append(x)
        else:
            groups.append([x])
            last = x
    words = "\n".join(alert.subject for alert in day.alerts)
    for group in groups:
        x, middle = group[0], y + _ROW / 2
        out.append(f'<circle cx="{x}" cy="{middle}" r="7" fill="{_ALARM}"><title>{escape(words)}</title></circle>')
        number = str(len(group)) if len(group) > 1 else "!"
        out.append(_text(x, middle + 4, number, anchor="middle", fill="#fff", size=11, weight="bold"))
    return out


def _feed(day: Day, axis: _Axis, y: float, height: float) -> list[str]:
    """How old the newest market data was at the models: a dot for each answer of a host."""
    # A few that waited long do not flatten the others; they are drawn at the top.
    most = sorted(lag for _at, lag in day.feed)[len(day.feed) * 9 // 10]
    scale = next((each for each in (1, 2, 5, 10, 30, 60, 300) if most <= each), round(most))
    top, bottom = y + 5, y + height - 6
    out = [
        _label("feed lag at the models, s", y + height / 2 - _ROW / 2),
        _text(LEFT - 4, top + 7, str(scale), anchor="end", fill=_SOFT, size=10),
        _text(LEFT - 4, bottom + 3, "0", anchor="end", fill=_SOFT, size=10),
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}" stroke="{_LINE}"/>',
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top}" y2="{top}" stroke="{_LINE}"/>',
    ]
    for at, lag in day.feed:
        cy = round(bottom - min(1.0, lag / scale) * (bottom - top), 1)
        out.append(f'<circle cx="{axis.x(at)}" cy="{cy}" r="1.4" fill="#3d6fb0"/>')
    return out


def _host(row: Row, axis: _Axis, y: float) -> list[str]:
    name = row.name if row.component == "trading_server" else "alpaca_websocket, ingestion"
    out = [_label(name, y)]
    for span in row.spans:
        if span.state == record.STOPPED:
            continue
        left, right = axis.x(span.begin), axis.x(span.end)
        why = f": {span.why}" if span.why else ""
        title = escape(f"{_WORDS[span.state]} {axis.clock(span.begin)} to {axis.clock(span.end)}{why}")
        out.append(
            f'<rect x="{left}" y="{y + 4}" width="{round(max(1.5, right - left), 1)}" height="{_ROW - 8}" '
            f'fill="{COLOURS[span.state]}"><title>{title}</title></rect>'
        )
    for mark in row.marks:
        x = axis.x(mark.at)
        if mark.kind == "order":
            out.append(f'<line x1="{x}" x2="{x}" y1="{y + 6}" y2="{y + _ROW - 6}" stroke="#fff" stroke-width="1.1"/>')
        else:
            out.append(
                f'<path d="M{x - 5} {y + 5} l10 9 m0 -9 l-10 9" stroke="{_ALARM}" stroke-width="2.4" fill="none">'
                f"<title>{escape(f'{axis.clock(mark.at)} {mark.text}')}</title></path>"
            )
    return out


def _legend(days: Sequence[Day], y: float) -> list[str]:
    seen = {span.state for day in days for row in day.rows.values() for span in row.spans}
    marks = {mark.kind for day in days for row in day.rows.values() for mark in row.marks}
    out, x = [], 16.0

    def add(drawing: str, words: str) -> None:
        nonlocal x
        out.append(drawing.format(x=x, middle=y))
        out.append(_text(x + 20, y + 4, words, fill=_SOFT, size=11))
        x += 34 + 5.9 * len(words)

    for state, colour in COLOURS.items():
        if state in seen:
            add(f'<rect x="{{x}}" y="{y - 5}" width="14" height="10" fill="{colour}"/>', _WORDS[state])
    if "order" in marks:
        box = f'<rect x="{{x}}" y="{y - 5}" width="14" height="10" fill="{COLOURS[record.WORKING]}"/>'
        add(box + f'<path d="M{x + 5} {y - 4} v8 m4 -8 v8" stroke="#fff" stroke-width="1.1"/>', "an order")
    if "undrained" in marks:
        add(f'<path d="M{x + 2} {y - 4} l10 9 m0 -9 l-10 9" stroke="{_ALARM}" stroke-width="2.4"/>', "drain failed")
    for fill, words in ((_INK, "function acted"), ("#fff", "function found nothing to do")):
        shape = f"M{x + 7} {y - 5.5} l5.5 5.5 -5.5 5.5 -5.5 -5.5z"
        add(f'<path d="{shape}" fill="{fill}" stroke="{_INK}" stroke-width="1.4"/>', words)
    if any(day.alerts for day in days):
        add(f'<circle cx="{x + 7}" cy="{y}" r="6" fill="{_ALARM}"/>', "alert")
    return out


def _label(name: str, y: float, fill: str = _INK) -> str:
    shown = name if len(name) <= 46 else f"{name[:45]}…"
    return _text(LEFT - 10, y + _ROW / 2 + 4, shown, anchor="end", fill=fill)


def _text(
    x: float, y: float, words: str, *, anchor: str = "", fill: str = "", size: float = 0, weight: str = ""
) -> str:
    given = {"text-anchor": anchor, "fill": fill, "font-size": size, "font-weight": weight}
    more = "".join(f' {name}="{value}"' for name, value in given.items() if value)
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}"{more}>{escape(words)}</text>'
