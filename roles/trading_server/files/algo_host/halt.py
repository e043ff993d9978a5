# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The halt: of the whole environment, by its parameter, and of this host, by an operator. Either is enough.

The trader looks at one file and asks nobody. This keeps the file, and what is known of both halts, across reboots.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .errors import HostError
from .orders import read_orders
from .places import USER, Places, as_json, read_json, replace

UNKNOWN = "the environment's halt parameter has not been read since the boot"


def reason_in(name: str, value: str, model: str, now: datetime | None = None) -> str:
    """Why a parameter's value halts this model, as algo.trading.model_fleet reads it; empty if it does not."""
    orders, now = read_orders(value), now or datetime.now().astimezone()
    if why := orders.everything_halted(now):
        return f"{name} is {why}"
    if why := orders.halted(model, now):
        return f"{name} has {why}"
    return ""


def boot_id(places: Places) -> str:
    """Another one after each boot."""
    path = places.own_run / "booted"
    if not path.exists():
        replace(path, f"{time.time_ns()}\n")
    return path.read_text().strip()


def known(places: Places) -> dict[str, str]:
    """The reasons to halt. Since a boot, the environment's is unknown until it has been read, and unknown halts."""
    found = read_json(places.halts)
    environment = str(found.get("environment", "")) if found.get("boot") == boot_id(places) else UNKNOWN
    return {"environment": environment, "operator": str(found.get("operator", ""))}


def ask(places: Places, name: str, read: Callable[[str], str], model: str | None = None) -> tuple[dict[str, str], str]:
    """Read the environment's flag and obey it. Returns the reasons and why it could not be read.

    :param model: the host's; left out, the one that it is configured for. Without any, a halt of some halts.

    Without an answer, what is known stays. A parameter that does not exist is an answer.
    """
    answer: str | None = None
    trouble = ""
    try:
        answer = reason_in(name, read(name), configured_model(places) if model is None else model)
    except HostError as error:
        if "ParameterNotFound" in str(error):
            answer = f"{name} does not exist"
        else:
            trouble = str(error)
    return obey(places, environment=answer), trouble


def obey(places: Places, *, environment: str | None = None, operator: str | None = None) -> dict[str, str]:
    """Remember a reason, None leaves it, and make the trader's flag agree with all of them."""
    with places.locked("halt"):
        reasons = known(places)
        reasons["environment"] = reasons["environment"] if environment is None else environment
        reasons["operator"] = reasons["operator"] if operator is None else operator
        replace(places.halts, as_json({**reasons, "boot": boot_id(places)}))
        make_run_dir(places)
        if any(reasons.values()):
            replace(places.halt_flag, "; ".join(f"{who}: {why}" for who, why in reasons.items() if why) + "\n")
        else:
            places.halt_flag.unlink(missing_ok=True)
        return reasons


def configured_model(places: Places) -> str:
    """The model that the trader is configured for; empty before that."""
    model = read_json(places.trader).get("model")
    return str(model.get("name", "")) if isinstance(model, dict) else ""


def make_run_dir(places: Places) -> None:
    """The trader's folder of flags; the halt has to stand before the trader is started."""
    if not places.run_dir.is_dir():
        places.run_dir.mkdir(parents=True, mode=0o755)
        with contextlib.suppress(LookupError):  # the user comes with the role's install phase
            shutil.chown(places.run_dir, USER, USER)


def watch(
    places: Places,
    name: str,
    read: Callable[[str], str],
    told: Callable[[str], None],
    seconds: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
    rounds: int = -1,
) -> None:
    """Ask again and again; says what has changed."""
    last: Any = None
    while rounds:
        reasons, trouble = ask(places, name, read)
        state = ("; ".join(why for why in reasons.values() if why) or "not halted", bool(trouble))
        if state != last:
            told(f"halt: {state[0]}" + (f"; what was known stays: {trouble}" if trouble else ""))
            last = state
        rounds -= 1
        # Hosts that booted together do not ask together.
        sleep(seconds * (0.75 + 0.5 * int.from_bytes(os.urandom(2), "big") / 65535))
