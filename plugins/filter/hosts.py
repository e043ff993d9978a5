# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for plays on the real hosts. The documentation of each stands beside this file, in one of its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._components import REGISTRY

_ROLES = Path(__file__).resolve().parents[2] / "roles"
_COMPONENTS = {component.name: component for component in REGISTRY}
# Facts that any host has: the state of its systemd, then the units that failed, in one line.
_GENERAL = "systemctl is-system-running; systemctl list-units --failed --plain --no-legend | cut -d ' ' -f 1 | xargs"
_BOOT_SECONDS = 600  # beside many others
_SHOWN = {
    "version": ("version",),
    "model": ("model",),
    "state": ("state",),
    "last_work": ("last_loop", "last_message", "last_work"),
    "last_work_age": ("last_loop_age", "last_message_age"),
    "feed_lag": ("feed_lag", "last_message_age"),
    "orders": ("orders",),
    "open_orders": ("open_orders",),
    "fills": ("fills",),
    "position": ("position", "positions"),
    "symbol": ("symbol",),
    "profit_and_loss": ("profit_and_loss",),
    "reason": ("reason",),
}


def host_role(component: str) -> str:
    """The role that configures a component's hosts, if this version has one."""
    found = _COMPONENTS.get(component)
    role = found.host_role if found else ""
    return role if role and (_ROLES / role / "tasks" / "main.yml").is_file() else ""


def host_status_command(component: str, seconds: int = 0) -> str:
    """A shell script that prints what `host_status` reads.

    :param seconds: how long to wait for a service that is not healthy
    """
    found = _COMPONENTS.get(component)
    if not found or not found.host_status:
        return f"{_GENERAL}; true"
    # Its own command ends with 0 if it is healthy. There is nothing to wait for without the command (127) or where
    # the service was refused (78).
    asked = f"own=$({found.host_status} 2>/dev/null)"
    over = f"test $(($(date +%s) - began)) -lt {int(seconds)} || break"
    waiting = f"until {asked}; do case $? in 78|127) break;; esac; {over}; sleep 2; done"
    return f'began=$(date +%s); {waiting}; {_GENERAL}; echo "$own"'


def host_status(text: str, component: str) -> dict[str, Any]:
    """One row of the summary: what a host's own status says, or else how its systemd is."""
    system, failed, own = [*text.split("\n", 2), "", ""][:3]
    told = _told(own)
    # What the trading code says of itself; algo-host knows better where both say it.
    told = {**_mapping(told.get("health")), **told}
    ages = [each.get("age_seconds") for each in map(_mapping, _mapping(told.get("channels")).values())]
    told["last_message_age"] = min((age for age in ages if isinstance(age, int | float)), default=None)
    boot = _mapping(told.get("boot"))
    if boot.get("reason") and not told.get("healthy"):
        told["reason"], told["state"] = told.get("reason") or boot["reason"], told.get("state") or boot.get("result")
    if told.get("reasons"):
        told["reason"] = "; ".join(map(str, told["reasons"]))
    if why := _mapping(told.get("failed_drain")).get("reason"):
        told["reason"] = "; ".join(filter(None, (str(told.get("reason") or ""), f"a drain failed: {why}")))
    shown: dict[str, Any] = {"component": component}
    for name, keys in _SHOWN.items():
        value = next((told[key] for key in keys if told.get(key) not in (None, "")), None)
        if value is not None:
            shown[name] = value
    if "healthy" in told:
        shown["health"] = "healthy" if told["healthy"] else "unhealthy"
    else:
        shown["health"] = "no service" if system.strip() in ("running", "degraded") else "unknown"
    if system.strip() == "starting" and shown["health"] != "healthy":
        shown["health"] = "booting"
    if failed.strip():
        shown["failed_units"] = failed.split()
    return shown


def host_silence(launched: str | datetime) -> str:
    """How a host is that does not answer: launched a short time ago, it boots.

    :param launched: when it was launched. Inventory plugins give a time or its ISO 8601 text.
    """
    time = launched if isinstance(launched, datetime) else datetime.fromisoformat(launched)
    return "booting" if (datetime.now(UTC) - time).total_seconds() < _BOOT_SECONDS else "unreachable"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _told(text: str) -> dict[str, Any]:
    text = text.strip()
    if text == "OK":
        return {"healthy": True}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(found, Mapping):
        return {}
    healthy = found.get("healthy", found.get("status") in ("ok", "standby") if "status" in found else None)
    return {**found, **({"healthy": healthy} if healthy is not None else {})}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "host_role": host_role,
            "host_silence": host_silence,
            "host_status": host_status,
            "host_status_command": host_status_command,
        }
