# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The halt flag: an SSM parameter that keeps every run from starting anything. Anything but a clear "no" halts."""

from __future__ import annotations

from typing import Any

from .._errors import error_code, sentence

NOT_HALTED = ("false", "off", "no", "0")
# What playbooks/resume.yml writes begins with this; who and why follows.
RESUMED = "false (resumed by "


def halt_reason(ssm: Any, name: str, *, planned: str = "") -> str:
    """Why trading is halted; empty if it is not.

    :param name: the parameter's name. Empty: there is no such flag, and nothing is halted.
    :param planned: the value that the same run is about to give to a parameter that does not exist yet.
    """
    if not name:
        return ""
    try:
        value = str(ssm.get_parameter(Name=name)["Parameter"]["Value"])
    except Exception as error:
        if error_code(error) != "ParameterNotFound":
            return f"trading is halted: {name} cannot be read: {sentence(str(error)).rstrip('.')}"
        if not planned:
            return f"trading is halted: {name} does not exist"
        value = planned
    if value.strip().lower() in NOT_HALTED or value.startswith(RESUMED):
        return ""
    return f"trading is halted: {name} is {value!r}"
