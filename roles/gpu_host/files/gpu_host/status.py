# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host as an operator sees it."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

from . import gpu, idle
from .errors import NO_SYSTEMD, HostError
from .places import IDLE_UNIT, SPOT_UNIT, Places, held, read_json
from .settings import Settings


def status(places: Places, settings: Settings) -> dict[str, Any]:
    reasons: list[str] = []
    cards = gpu.hardware(places)
    found: list[gpu.Gpu] = []
    if cards:
        try:
            found = gpu.gpus()
        except HostError as error:
            reasons.append(str(error))
    elif settings.require_gpu:
        reasons.append("the host has no GPU, and gpu_host_require_gpu is true")
    version = torch_version(places)
    if settings.torch and not version:
        reasons.append("PyTorch is not installed")
    units = {name: _active(name) for name in (SPOT_UNIT, *([IDLE_UNIT] if settings.idle_minutes else []))}
    if "" in units.values():
        reasons.append(f"{NO_SYSTEMD}, so {' and '.join(units)} {'do' if len(units) > 1 else 'does'} not run")
    else:
        reasons += [f"{name} is {state}" for name, state in units.items() if state != "active"]
    job, runs, notice = read_json(places.job), held(places.job_lock), read_json(places.notice)
    if runs and (job.get("checkpoints") or {}).get("error"):
        reasons.append(job["checkpoints"]["error"])
    elif job.get("unstored"):
        reasons.append(f"checkpoints of the job {job.get('name')} are not stored: {', '.join(job['unstored'])}")
    state = "training" if runs else "free"
    return {
        "component": "gpu_instance",
        "healthy": not reasons,
        "reason": "; ".join(reasons),
        "state": state if cards else f"{state}, without a GPU",
        "version": f"PyTorch {version}" if version else "",
        "last_work": (job.get("checkpoints") or {}).get("stored_at") or job.get("ended") or job.get("started") or "",
        "kernel": platform.release(),
        "driver": found[0].driver if found else "",
        "gpus": [each.shown() for each in found],
        "job": {**job, "running": runs} if job else {},
        "notice": notice,
        "idle": read_json(places.idle),
        "units": units,
    }


def torch_version(places: Places) -> str:
    """Of the installed environment, which is named version-digest."""
    try:
        return os.readlink(places.versions / "current").rpartition("/")[2].partition("-")[0]
    except OSError:
        return ""


def as_text(found: dict[str, Any]) -> str:
    job, notice = found["job"], found["notice"]
    kept = job.get("checkpoints") or {}
    cards = [
        f"{each['name']}, load {_told(each['load'])} %, "
        f"memory {_told(each['memory_used'])} of {_told(each['memory_total'])} MiB"
        + ("" if each["persistent"] else ", persistence mode off")
        for each in found["gpus"]
    ]
    lines = {
        "health": "healthy" if found["healthy"] else f"NOT healthy: {found['reason']}",
        "GPU": "; ".join(cards) or "none",
        "driver": f"{found['driver'] or 'none'}, kernel {found['kernel']}, {found['version'] or 'no PyTorch'}",
        "job": f"{job['name']}, {'runs' if job['running'] else job.get('state', '')} since {job.get('started')}"
        if job
        else "none",
        "stored": f"{kept.get('stored', 0)} files in {job.get('to')}, the last at {kept.get('stored_at') or 'no time'}"
        if kept
        else "",
        "notice": f"{notice.get('kind')} {notice.get('action', '')} at {notice.get('time')}" if notice else "none",
        "idle stop": idle.as_text(found["idle"]),
    }
    return "\n".join(f"{name + ':':<11}{text}" for name, text in lines.items() if text)


def _active(unit: str) -> str:
    """A unit's state; empty where there is no systemd that could tell it."""
    try:
        done = subprocess.run(["systemctl", "is-active", unit], capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return ""
    return "" if "not been booted with systemd" in done.stderr else done.stdout.strip() or "unknown"


def _told(value: Any) -> str:
    return "?" if value is None else str(value)
