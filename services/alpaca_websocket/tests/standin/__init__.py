# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Alpaca's market data: the stream and the REST history, from real prices, with faults on request.

It shares no code with the server that is tested against it.
"""
