"""What was seen of a day, on the exchange's time. Plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, CalendarEnded

# How a host is, from the outside; the picture and the page have a colour for each.
STOPPED, BOOTING, RUNNING, WORKING = "stopped", "booting", "running", "working"
UNHEALTHY, STOPPING = "unhealthy", "stopping"

# What the shutdown says when there is nothing to shut down.
NOTHING_RUNS = "no trading server runs"


@dataclass
class Span:
    """A host was like this from then to then; times are seconds since the epoch, of the embedded AWS's clock."""

    state: str
    begin: float
    end: float
    why: str = ""


@dataclass
class Mark:
    at: float
    kind: str
    text: str = ""


@dataclass
class Row:
    """A host, by its model or its component."""

    name: str
    component: str
    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def seen(self, state: str, at: float, why: str = "") -> None:
        """The host is in this state now.

        :param why: a reason, where there is one; the first counts
        """
        last = self.spans[-1] if self.spans else None
        if last is not None:
            last.end = max(last.end, at)
        if last is None or last.state != state:
            self.spans.append(Span(state, at, at, why))
        elif not last.why:
            last.why = why

    def ran(self) -> bool:
        return any(span.state != STOPPED for span in self.spans)


@dataclass
class Invocation:
    """One run of a function."""

    function: str
    begin: float
    end: float
    ok: bool
    said: str
    real_begin: float
    request: str
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def did_nothing(self) -> bool:
        return any(line.get("message") == "Not today" for line in self.lines) or self.said == NOTHING_RUNS


@dataclass
class Alert:
    """A message as a person gets it."""

    at: float
    subject: str
    text: str


@dataclass
class Step:
    at: float
    text: str
    kind: str = "step"  # step, command, output, alert, check, failed


@dataclass
class Day:
    """A day of the exchange."""

    day: date
    zone: str
    opens: float | None = None
    closes: float | None = None
    note: str = ""
    rows: dict[str, Row] = field(default_factory=dict)
    invocations: list[Invocation] = field(default_factory=list)
    orders: int = 0
    feed: list[tuple[float, float]] = field(default_factory=list)  # time, lag in seconds
    alerts: list[Alert] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @classmethod
    def of(cls, day: date, calendar: Calendar) -> Day:
        made = cls(day, str(calendar.zone))
        try:
            session = calendar.on(day)
        except CalendarEnded:
            made.note = "not in the calendar"
            return made
        if session is None:
            made.note = "weekend" if day.isoweekday() > 5 else "holiday"
        else:
            made.opens, made.closes = session.opens.timestamp(), session.closes.timestamp()
            made.note = session.note or "usual hours"
        return made

    def row(self, name: str, component: str) -> Row:
        return self.rows.setdefault(name, Row(name, component))

    def as_dict(self) -> dict[str, Any]:
        found = asdict(self) | {"day": self.day.isoformat()}
        found["rows"] = list(found["rows"].values())
        for invocation in found["invocations"]:
            del invocation["lines"]
        return found


def midnight(day: date, calendar: Calendar) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=calendar.zone).timestamp()
