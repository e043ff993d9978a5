# SPDX-License-Identifier: GPL-3.0-or-later
"""Towards clients: Alpaca's protocol, as a server."""
