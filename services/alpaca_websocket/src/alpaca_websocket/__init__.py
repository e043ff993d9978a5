# SPDX-License-Identifier: GPL-3.0-or-later
"""The market-data server: one connection to Alpaca, fanned out in Alpaca's own protocol, and stored."""

__version__ = "0.1.0"
