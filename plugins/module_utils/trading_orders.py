# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Giving an order: read the parameter, add to it, write it, and repair what somebody wrote in between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ._errors import Changed, error_code, from_aws
from .fleet.orders import Order, changed

# Writers of the same moment. More than these is no coincidence.
_TIMES = 5


@dataclass(frozen=True)
class Stored:
    """A parameter's value and version; version 0 is one that does not exist, which halts like any unclear value."""

    value: str
    version: int


def read(ssm: Any, name: str) -> Stored:
    """The parameter's value, or one of an earlier version (``name:3``)."""
    try:
        found = ssm.get_parameter(Name=name)["Parameter"]
    except Exception as error:
        if error_code(error) == "ParameterNotFound":
            return Stored("halted (the flag was missing)", 0)
        raise from_aws(f"read the parameter {name}", error) from error
    return Stored(str(found["Value"]), int(found["Version"]))


def give(ssm: Any, name: str, before: Stored, order: Order, now: datetime, *, check: bool = False) -> str:
    """Write the order; returns the parameter's value afterwards.

    :raises OrderError: before anything was written
    """
    value = changed(before.value, order, now)
    if check:
        return value
    version = _write(ssm, name, value)
    for _time in range(_TIMES):
        if version == before.version + 1:
            return value
        # Somebody wrote after we had read, and what they wrote is now overwritten: add ours to theirs.
        before = Stored(read(ssm, f"{name}:{version - 1}").value, version)
        value = changed(before.value, order, now)
        version = _write(ssm, name, value)
    raise Changed(
        f"The parameter {name} is being written by others all the time", remedy="Look at it, and give it again"
    )


def _write(ssm: Any, name: str, value: str) -> int:
    try:
        return int(ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)["Version"])
    except Exception as error:
        raise from_aws(f"write the parameter {name}", error) from error
