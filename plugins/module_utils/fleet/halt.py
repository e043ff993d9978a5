# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The orders of an environment, in an SSM parameter. What is missing or cannot be read halts everything."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .._errors import error_code, sentence
from .orders import Orders, read_orders


def parameter_orders(ssm: Any, name: str, *, planned: str = "") -> tuple[Orders, str]:
    """The orders in a parameter, or why they are not known, which halts everything.

    :param name: the parameter's name. Empty: there is no such flag, and nothing is ordered.
    :param planned: the value that the same run is about to give to a parameter that does not exist yet.
    """
    if not name:
        return Orders(), ""
    try:
        value = str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except Exception as error:
        if error_code(error) != "ParameterNotFound":
            return Orders(), f"{name} cannot be read: {sentence(str(error)).rstrip('.')}"
        if not planned:
            return Orders(), f"{name} does not exist"
        value = planned
    return read_orders(value), ""


def halt_of(name: str, orders: Orders, unknown: str, now: datetime) -> str:
    """Why everything is halted, in words; empty if it is not."""
    why = orders.everything_halted(now)
    if unknown or why:
        return f"trading is halted: {unknown or f'{name} is {why}'}"
    return ""


def halt_reason(ssm: Any, name: str, *, now: datetime, planned: str = "") -> str:
    """Why everything is halted; empty if it is not."""
    return halt_of(name, *parameter_orders(ssm, name, planned=planned), now)
