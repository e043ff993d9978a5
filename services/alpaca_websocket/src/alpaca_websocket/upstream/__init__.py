# SPDX-License-Identifier: GPL-3.0-or-later
"""Towards Alpaca: the one connection, what is done about its errors, and what is fetched after a gap."""
