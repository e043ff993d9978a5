# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trades one model on one symbol; README.md, "Trading code", is its contract."""
