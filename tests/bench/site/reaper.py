# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a command and writes what it and all that it started took: reaper.py REPORT COMMAND …

A process of its own, because the system only knows the CPU time of children that have ended and were waited for.
Orphans of the command, such as the plug-ins that Terraform leaves behind, become children of this process.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_ORPHANS_SECONDS = 30


def main() -> int:
    report, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    began = time.monotonic()
    status = subprocess.Popen(command).wait()
    seconds = time.monotonic() - began
    orphans = _reap()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report, "w") as file:
        took = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}
        json.dump(took | {"orphans": orphans}, file)
    return status if status >= 0 else 128 - status


def _reap() -> int:
    """Waits for what outlived the command; returns how many that were."""
    reaped, until = 0, time.monotonic() + _ORPHANS_SECONDS
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            reaped += 1
        else:
            time.sleep(0.02)
    return reaped


if __name__ == "__main__":
    sys.exit(main())
