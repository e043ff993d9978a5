# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Powers the host off once nothing has used it for a set time. It says why it stays."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable
from typing import Any

from . import gpu
from .errors import HostError
from .places import Places, held, now, read_json, write_json
from .settings import Settings

# A session of SSH with or without a terminal, as its process is titled; one of SSM; one on a console.
_LOGINS = (
    re.compile(r"^sshd(?:-session)?: (?P<who>[^\s\[@]+)@(?P<where>\S+)"),
    re.compile(r"(?:^|/)ssm-session-worker(?: (?P<where>\S+))?"),
    re.compile(r"^(?:/bin/)?login -"),
)


def busy(places: Places, settings: Settings) -> list[str]:
    """Why the host is in use now. What is not known counts as use."""
    reasons = []
    if held(places.job_lock):
        reasons.append(f"the job {read_json(places.job).get('name', '')} runs".replace("  ", " "))
    reasons += [f"somebody is logged in: {who}" for who in logins(places)]
    if gpu.hardware(places):
        try:
            for number, each in enumerate(gpu.gpus()):
                if each.load is None:
                    reasons.append(f"the load of GPU {number} is not known")
                elif each.load >= settings.idle_gpu_percent:
                    reasons.append(f"GPU {number} has a load of {each.load} %")
        except HostError as error:
            reasons.append(f"the load of the GPUs is not known: {error}")
    return reasons


def logins(places: Places) -> list[str]:
    """From the titles of processes: neither utmp nor logind knows all of them on every distribution."""
    found = []
    for process in sorted(places.proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        match = next((match for each in _LOGINS if (match := each.search(title))), None)
        if match:
            groups = match.groupdict()
            who = groups.get("who") or ("on a console" if "login" in title else "through SSM")
            found.append(f"{who} ({groups['where']})" if groups.get("where") else who)
    return found


def look(
    places: Places, settings: Settings, power_off: Callable[[], None], monotonic: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """One look, of the timer. What it decided is kept for the status."""
    limit = settings.idle_minutes * 60
    if not limit:
        return _kept(places, {"since": None, "reasons": ["the idle stop is off: gpu_host_idle_minutes is 0"]})
    reasons, moment = busy(places, settings), monotonic()
    if reasons:
        return _kept(places, {"since": None, "reasons": reasons})
    since = read_json(places.idle).get("since")
    since = moment if not isinstance(since, int | float) or since > moment else since
    left = limit - (moment - since)
    if left > 0:
        reasons = [f"unused for {(moment - since) / 60:.0f} of {settings.idle_minutes} minutes"]
        return _kept(places, {"since": since, "reasons": reasons})
    # A job that starts in this moment looks for the file after it has taken the lock, so one of the two sees the other.
    places.powering_off.touch()
    try:
        if held(places.job_lock):
            places.powering_off.unlink()
            return _kept(places, {"since": None, "reasons": ["a job has just been started"]})
        power_off()
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            places.powering_off.unlink()
        raise
    return _kept(places, {"since": since, "reasons": [], "off": True})


def power_off() -> None:
    done = subprocess.run(["systemctl", "poweroff"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise HostError(f"The host could not be powered off: {' '.join(done.stderr.split())}")


def as_text(found: dict[str, Any]) -> str:
    if found.get("off"):
        return "nothing has used this host for the set time: powering off"
    return f"stays on: {'; '.join(found.get('reasons', [])) or 'not looked at yet'}"


def _kept(places: Places, found: dict[str, Any]) -> dict[str, Any]:
    places.idle.parent.mkdir(parents=True, exist_ok=True)
    write_json(places.idle, {**found, "looked": now()})
    return found
