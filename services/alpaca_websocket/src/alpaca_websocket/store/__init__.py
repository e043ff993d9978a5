# SPDX-License-Identifier: GPL-3.0-or-later
"""What arrives, kept: a journal first, then Parquet, then the data bucket."""

from __future__ import annotations

from alpaca_websocket.store.journal import StoreUnavailable
from alpaca_websocket.store.recovery import RecoveryReport
from alpaca_websocket.store.replay import Stored
from alpaca_websocket.store.settings import StoreSettings
from alpaca_websocket.store.store import Store, StoreStats

__all__ = ["RecoveryReport", "Store", "StoreSettings", "StoreStats", "StoreUnavailable", "Stored"]
