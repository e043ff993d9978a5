# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness, status and watchdog for systemd (sd_notify(3)); does nothing where systemd did not start the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable


def notify(message: str) -> bool:
    """Send lines such as "READY=1" or "STATUS=streaming". Returns whether somebody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        sock.setblocking(False)
        sock.connect(address)
        sock.sendall(message.encode())
        return True
    return False


def watchdog_interval() -> float | None:
    """Seconds between signs of life: half of the unit's WatchdogSec; None where there is no watchdog."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or int(usec) == 0 or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2_000_000


async def watchdog(alive: Callable[[], bool], status: Callable[[], str]) -> None:
    """Until cancelled, tell systemd the status and, as long as `alive()`, a sign of life; or it restarts us."""
    interval = watchdog_interval()
    while True:
        lines = [f"STATUS={status()}"]
        if interval is not None and alive():
            lines.append("WATCHDOG=1")
        notify("\n".join(lines))
        await asyncio.sleep(min(interval or 10.0, 10.0))
