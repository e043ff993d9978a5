# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells systemd how the service does, by the protocol of sd_notify(3)."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Notify:
    def __init__(self, environment: Mapping[str, str]) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def __call__(self, *lines: str) -> None:
        """Without a supervisor this does nothing. One that is gone is no reason to stop trading."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(1)  # a supervisor that does not read must not stop the loop
                sender.connect(self._address)
                sender.sendall("\n".join(lines).encode())
        except OSError:
            pass
