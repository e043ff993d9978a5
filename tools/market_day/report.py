"""How the days ended, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from .record import Day


@dataclass(frozen=True)
class Check:
    """One sentence of the story, and whether it was so."""

    day: str
    told: str
    ok: bool
    seen: str = ""


def clock(at: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(at, ZoneInfo(zone)):%H:%M}"


def as_text(days: Sequence[Day], checks: Sequence[Check], seconds: float) -> str:
    lines = []
    for day in days:
        lines += ["", f"{day.day:%a} {day.day}  {day.note}" + _hours(day)]
        for run in day.invocations:
            lines.append(f"  {clock(run.begin, day.zone)}  {run.function:<24} {run.said}")
        ran = [row for row in day.rows.values() if row.ran()]
        orders = f", {day.orders} orders" if day.orders else ""
        lines.append(f"  {len(ran)} hosts ran{orders}, {len(day.alerts)} alerts")
        lines += [
            f"  {'✓' if check.ok else '✗'} {check.told}" + _seen(check) for check in checks if check.day == str(day.day)
        ]
    wrong = [check for check in checks if not check.ok]
    lines.append("")
    if wrong:
        lines.append(f"{len(wrong)} of {len(checks)} checks failed, after {seconds:.0f} s:")
        lines += [f"  ✗ {check.day}: {check.told}{_seen(check)}" for check in wrong]
    else:
        lines.append(f"The days went as told: {len(checks)} checks, {seconds:.0f} s.")
    return "\n".join(lines)


def as_dict(days: Sequence[Day], checks: Sequence[Check], seconds: float, hosts: bool) -> dict[str, Any]:
    return {
        "ok": all(check.ok for check in checks),
        "hosts": hosts,
        "seconds": round(seconds, 1),
        "checks": [asdict(check) for check in checks],
        "days": [day.as_dict() for day in days],
    }


def _hours(day: Day) -> str:
    if day.opens is None or day.closes is None:
        return ""
    return f", {clock(day.opens, day.zone)} to {clock(day.closes, day.zone)}"


def _seen(check: Check) -> str:
    return "" if check.ok or not check.seen else f" (seen: {check.seen})"
