# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's GPUs, as the driver's own program shows them."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, dataclass
from typing import Any

from .errors import HostError
from .places import Places

_NVIDIA = "0x10de"
# Display controllers: 0x0300 (VGA) and 0x0302 (3D). A GPU's audio and USB parts are not the GPU.
_DISPLAY = "0x03"
_FIELDS = ("name", "driver_version", "utilization.gpu", "memory.used", "memory.total", "persistence_mode")


@dataclass(frozen=True)
class Gpu:
    """Memory in MiB, load in percent; None where the driver does not tell it."""

    name: str
    driver: str
    load: int | None
    memory_used: int | None
    memory_total: int | None
    persistent: bool

    def shown(self) -> dict[str, Any]:
        return asdict(self)


def hardware(places: Places) -> int:
    """How many NVIDIA GPUs the host has, whether or not there is a driver for them."""
    found = 0
    for device in places.pci.glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        found += vendor == _NVIDIA and kind.startswith(_DISPLAY)
    return found


def gpus() -> list[Gpu]:
    """
    :raises HostError: if the driver does not answer
    """
    said = smi(f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits")
    found = [[value.strip() for value in line.split(",")] for line in said.splitlines() if line.strip()]
    if not found or any(len(values) != len(_FIELDS) for values in found):
        raise HostError(f"nvidia-smi has told nothing of the GPUs: {said.strip() or 'no output'}")
    return [
        Gpu(name, driver, _number(load), _number(used), _number(total), mode == "Enabled")
        for name, driver, load, used, total, mode in found
    ]


def smi(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError:
        raise HostError("there is no nvidia-smi: the driver is not installed") from None
    except subprocess.TimeoutExpired:
        raise HostError("nvidia-smi has not answered within 60 s") from None
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split()) or f"it ended with {done.returncode}"
        raise HostError(f"the driver does not answer: {said}")
    return done.stdout


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None  # such as [N/A]
