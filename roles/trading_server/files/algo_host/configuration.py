# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trading code's configuration and the limits of its unit: made here, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .imds import Claim
from .places import CREDENTIALS, Places
from .settings import Settings

FORMAT = "algo-trading/config/1"


def trader_configuration(settings: Settings, claim: Claim, artifact: Path, places: Places) -> dict[str, Any]:
    """What `algo-trader` reads, by the contract in examples/algo-modeling-v2/README.md."""
    return {
        "format": FORMAT,
        "environment": settings.environment,
        "model": {"name": claim.model, "version": claim.version, "path": str(artifact)},
        "symbol": claim.symbol,
        "feed_url": settings.feed_url,
        "broker": {"url": settings.broker_url, "paper": settings.paper},
        "bars": settings.bars,
        "credentials": CREDENTIALS,
        "limits": dict(settings.limits),
        "flatten_on_drain": settings.flatten_on_drain,
        "drain_seconds": settings.drain_seconds,
        "loop_seconds": settings.loop_seconds,
        "state_dir": str(places.state_dir),
        "run_dir": str(places.run_dir),
    }


def unit_limits(settings: Settings) -> str:
    """The unit's drop-in. A trader that has completed no loop in twice its longest healthy time hangs."""
    return (
        "# Written by algo-host configure.\n[Service]\n"
        f"WatchdogSec={max(10, round(2 * settings.loop_seconds))}\n"
        f"TimeoutStopSec={settings.stop_seconds}\n"
    )
