# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trader as an operator sees it."""

from __future__ import annotations

import datetime
import time
from typing import Any

from . import halt, units
from .drain import state_of
from .places import UNIT, Places, read_json

_HEALTHY = ("trading", "halted")
_BOOT = ("result", "reason", "time", "seconds", "powered_on", "phases")


def status(places: Places) -> dict[str, Any]:
    unit, health, boot, trader = (
        units.show(UNIT),
        read_json(places.health),
        read_json(places.boot_report),
        read_json(places.trader),
    )
    age = _age(str(health.get("last_loop", "")))
    limit = trader.get("loop_seconds", 0)
    late = age is None or age > limit
    healthy = unit.active == "active" and state_of(health) in _HEALTHY and not late
    reason = str(health.get("reason") or "")
    if unit.active == "active" and state_of(health) in _HEALTHY and late:
        last = "no loop has ended" if age is None else f"the last loop ended {age:.0f} s ago"
        reason = f"{last}, at most {limit:g} s are allowed" + (f"; {reason}" if reason else "")
    reasons = {who: why for who, why in halt.known(places).items() if why}
    return {
        "component": "trading_server",
        "environment": trader.get("environment", ""),
        "model": trader.get("model", {}).get("name", ""),
        "version": trader.get("model", {}).get("version", ""),
        "healthy": healthy,
        "unit": unit.active,
        "result": unit.result,
        "state": state_of(health),
        "reason": reason,
        "last_loop": health.get("last_loop", ""),
        "last_loop_age": age,
        "positions": health.get("positions"),
        "open_orders": health.get("open_orders"),
        "health": health,
        "halt": reasons,
        "undrained": places.undrained.exists(),
        "failed_drain": read_json(places.failed_drain),
        "boot": {name: boot.get(name, "") for name in _BOOT} if boot else {},
    }


def as_text(found: dict[str, Any]) -> str:
    boot = found["boot"]
    halted = "; ".join(f"{who}: {why}" for who, why in found["halt"].items())
    lines = {
        "model": f"{found['model']} {found['version']}".strip() or "none",
        "unit": f"{found['unit']}, {found['state'] or 'no state'}"
        + (f": {found['reason']}" if found["reason"] else ""),
        "health": "healthy" if found["healthy"] else "NOT healthy",
        "last loop": f"{found['last_loop'] or 'none'}"
        + (f", {found['last_loop_age']:.0f} s ago" if found["last_loop_age"] is not None else ""),
        "held": f"{_number(found['positions'])} positions, {_number(found['open_orders'])} open orders",
        "halt": halted or "no",
        **({"drain": "FAILED {time}: {reason}".format(**found["failed_drain"])} if found["failed_drain"] else {}),
        "boot": _boot(boot) if boot else "not booted by algo-host",
    }
    return "\n".join(f"{name + ':':<11}{text}" for name, text in lines.items())


def _boot(boot: dict[str, Any]) -> str:
    """The result, and how long each phase took, from power-on to the end."""
    before = boot["powered_on"]
    took = [f"system {before:.1f}"] if isinstance(before, int | float) else []
    took += [f"{phase['name']} {phase['seconds']:.1f}" for phase in boot["phases"] or ()]
    total = float(boot["seconds"] or 0) + (before if isinstance(before, int | float) else 0)
    since = "s after power-on" if isinstance(before, int | float) else "s"
    reason = f": {boot['reason']}" if boot["reason"] else ""
    return f"{boot['result']}, {boot['time']}, {total:.1f} {since} ({', '.join(took)}){reason}"


def _number(value: Any) -> str:
    return "?" if value is None else str(value)


def _age(moment: str) -> float | None:
    try:
        then = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
        return max(time.time() - then.timestamp(), 0.0)
    except (ValueError, TypeError):
        return None
