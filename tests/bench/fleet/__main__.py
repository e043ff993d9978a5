# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`python tests/bench/fleet` is `python tests/bench/fleet/bench.py`."""

from __future__ import annotations

from bench import main

main()
