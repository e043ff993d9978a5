# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server shows of itself: health, metrics, logs, systemd, and a page for people."""

from __future__ import annotations

from .histogram import Histogram
from .state import Channel, Client, Gap, Phase, State

__all__ = ["Channel", "Client", "Gap", "Histogram", "Phase", "State"]
