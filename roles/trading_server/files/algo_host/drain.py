# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drain: its exit status is the truth, which `systemctl stop` does not tell.

From each start of the trader until its drain is confirmed, a marker stands on the disk, so a trader that crashed, or a
host that lost its power, is not taken for a drained one.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from . import units
from .errors import HostError
from .places import BOOT_UNIT, UNIT, USER, Places, as_json, read_json, replace

# For the drain command beyond its own limit, before it is given up.
_GRACE = 25
_REFUSED = 78
DRAINED = "drained"


def drain(places: Places) -> str:
    """Drain the trader and stop it. Returns what was confirmed.

    :raises HostError: if that cannot be confirmed; a running trader is left running, and the status tells why
    """
    try:
        confirmed = _drain(places)
    except HostError as error:
        found = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "reason": str(error)}
        with contextlib.suppress(OSError):  # a full disk must not hide the reason
            replace(places.failed_drain, as_json(found))
        raise
    places.failed_drain.unlink(missing_ok=True)
    return confirmed


def _drain(places: Places) -> str:
    # A boot that still waits for something must not start the trader afterwards.
    if units.show(BOOT_UNIT).running:
        units.stop(BOOT_UNIT, 60)
    unit = _settled()
    if not unit.running:
        return _confirmed_before(places, unit)
    seconds = _seconds(places)
    end = time.monotonic() + seconds + _GRACE
    _run_command(places, seconds + _GRACE)
    if state_of(read_json(places.health)) != DRAINED:
        state = state_of(read_json(places.health))
        raise HostError(f"Not drained: the drain command ended with 0, but the health file says {state!r}.")
    _require_nothing_left(places)
    units.stop(UNIT, max(end - time.monotonic(), 15))
    after = units.show(UNIT)
    if after.running or after.result != "success":
        raise HostError(f"Not drained: after its drain, {UNIT} is {after.active} with the result {after.result}.")
    return DRAINED + _held(read_json(places.health))


def _confirmed_before(places: Places, unit: units.Unit) -> str:
    if not unit.installed:
        return "nothing to drain: no trader is installed on this host"
    _require_nothing_left(places)
    if not places.undrained.exists():
        held = read_json(places.health)
        return DRAINED + _held(held) if state_of(held) == DRAINED else "nothing to drain: the trader is not running"
    raise HostError(
        f"Not drained: the trader ended without a confirmed drain (result {unit.result}, exit status {unit.status}). "
        "Orders and positions may be open at the broker. Start it again with: algo-host boot; or close them there, "
        f"then: rm {places.undrained}"
    )


def _settled() -> units.Unit:
    """The unit, once it is not between two states; a start that takes long is waited for."""
    end = time.monotonic() + 30
    while (unit := units.show(UNIT)).active == "activating" and time.monotonic() < end:
        time.sleep(0.5)
    return unit


def _seconds(places: Places) -> int:
    found = read_json(places.trader).get("drain_seconds")
    if not isinstance(found, int):
        raise HostError(f"Not drained: {places.trader} has no drain_seconds.")
    return found


def _run_command(places: Places, seconds: float) -> None:
    account = pwd.getpwnam(USER)
    try:
        done = subprocess.run(
            [str(places.command), "drain"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            cwd="/",
            env={"ALGO_CONFIG": str(places.trader), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            check=False,
        )
    except OSError as error:
        raise HostError(f"Not drained: {places.command} cannot be run: {error}.") from error
    except subprocess.TimeoutExpired:
        raise HostError(f"Not drained: the drain command has not ended within {seconds:g} s.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        why = str(read_json(places.health).get("reason") or "") or (said[-1] if said else "no reason given")
        raise HostError(f"Not drained: exit status {done.returncode}: {why}. The trader is left running.")


def starting(places: Places, invocation: str) -> None:
    """The unit is about to start its process."""
    if not places.undrained.exists():
        replace(places.undrained, f"{invocation}\n")


def stopped(places: Places, environment: Mapping[str, str]) -> bool:
    """The unit's process has ended, also by itself. Returns whether it is known to have left no orders behind."""
    drained = environment.get("SERVICE_RESULT") == "success" and state_of(read_json(places.health)) == DRAINED
    drained = drained and not left(places)
    refused = environment.get("EXIT_STATUS") == str(_REFUSED) and _marked_by(places) == environment.get("INVOCATION_ID")
    if drained or refused:
        places.undrained.unlink(missing_ok=True)
        if drained:
            places.failed_drain.unlink(missing_ok=True)
        return True
    return False


def _marked_by(places: Places) -> str:
    try:
        return places.undrained.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def state_of(health: Mapping[str, Any]) -> str:
    return str(health.get("state", ""))


def left(places: Places) -> str:
    """What a trader that says it is drained has left all the same; empty for nothing that it should not."""
    health, configuration = read_json(places.health), read_json(places.trader)
    found = [f"{health['open_orders']} open orders"] if health.get("open_orders") else []
    if configuration.get("flatten_on_drain") and health.get("positions"):
        found.append(f"{health['positions']} positions, although flatten_on_drain is set")
    return " and ".join(found) if state_of(health) == DRAINED else ""


def _require_nothing_left(places: Places) -> None:
    if found := left(places):
        raise HostError(
            f"Not drained: the trader says that it is drained, and holds {found}. Start it again with: algo-host boot; "
            f"or close them at the broker, then: rm -f {places.undrained} {places.health}"
        )


def _held(health: Mapping[str, Any]) -> str:
    positions = health.get("positions")
    return f", {positions} positions held" if positions else ""


def invocation() -> str:
    return os.environ.get("INVOCATION_ID", "")
