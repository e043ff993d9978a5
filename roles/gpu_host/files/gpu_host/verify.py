# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifies that the host computes: driver, PyTorch, each GPU."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from . import gpu
from .errors import BUSY, NO_GPU, HostError
from .places import Places, held

_COMPUTE = Path(__file__).with_name("compute.py")
_SECONDS = 600  # the first import reads gigabytes


def verify(places: Places, torch: bool) -> tuple[dict[str, Any], int]:
    """What was found, and the exit status: 0, 1 if something is wrong, NO_GPU if only a GPU is missing.

    :param torch: whether PyTorch should be there
    :raises HostError: while a job runs, whose memory it could take
    """
    if held(places.job_lock):
        raise HostError("a job runs, so nothing was verified", BUSY)
    cards = gpu.hardware(places)
    found: dict[str, Any] = {"cards": cards, "gpus": [], "driver": "", "kernel": platform.release()}
    reasons: list[str] = []
    if cards:
        try:
            shown = gpu.gpus()
            found.update(gpus=[each.shown() for each in shown], driver=shown[0].driver)
            if len(shown) != cards:
                reasons.append(f"the host has {cards} GPUs, and the driver shows {len(shown)}")
        except HostError as error:
            reasons.append(str(error))
    if torch:
        try:
            found["computed"] = _compute(places)
            reasons += _wrong(found["computed"], cards)
        except HostError as error:
            reasons.append(str(error))
    code = 1 if reasons else 0 if cards else NO_GPU
    result = {0: "verified", 1: "failed", NO_GPU: "no GPU"}[code]
    return {"result": result, "reason": "; ".join(reasons), **found}, code


def as_text(found: dict[str, Any]) -> str:
    computed = found.get("computed") or {}
    lines = [f"{found['result']}{': ' if found['reason'] else ''}{found['reason']}"]
    lines.append(f"driver {found['driver'] or 'none'}, kernel {found['kernel']}, {found['cards']} GPUs")
    if computed:
        lines.append(f"PyTorch {computed['torch']}, CUDA {computed['cuda'] or 'none'}")
    for each in computed.get("devices", ()):
        about = (
            f" {each['name']}, {each['memory_free_mib']} of {each['memory_total_mib']} MiB free"
            if "name" in each
            else ""
        )
        outcome = f"error {each['error']:.1e}, {each['seconds']:.2f} s" if "error" in each else each.get("reason", "")
        lines.append(f"{each['device']}:{about} {'correct' if each['correct'] else 'WRONG'}, {outcome}")
    return "\n".join(lines)


def _compute(places: Places) -> dict[str, Any]:
    if not places.python.exists():
        raise HostError("PyTorch is not installed")
    try:
        done = subprocess.run(
            [str(places.python), "-I", "-B", str(_COMPUTE)],
            capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return dict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise HostError(f"PyTorch has not computed within {_SECONDS} s") from None
    except ValueError:
        said = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise HostError(f"PyTorch does not work: {said}") from None


def _wrong(computed: dict[str, Any], cards: int) -> list[str]:
    used = [each for each in computed["devices"] if each["device"] != "cpu"]
    wrong = [
        f"{each['device']} computes wrong: {each.get('reason') or 'error {:.1e}'.format(each['error'])}"
        for each in computed["devices"]
        if not each["correct"]
    ]
    if len(used) != cards:
        wrong.append(
            f"PyTorch {computed['torch']} (CUDA {computed['cuda'] or 'none'}) uses {len(used)} of {cards} GPUs: "
            "its CUDA may need a newer driver"
        )
    return wrong
