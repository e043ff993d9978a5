# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's second process."""

from __future__ import annotations

from alpaca_websocket.store.worker import main

main()
