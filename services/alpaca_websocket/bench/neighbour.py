# SPDX-License-Identifier: GPL-3.0-or-later
"""Another program on the relay's core: it takes whatever it is given."""

from __future__ import annotations

while True:
    pass
