# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small, honest trading models: real prices, nested walk-forward cross-validation, reproducible artifacts."""

from __future__ import annotations

__version__ = "2.0.0"
