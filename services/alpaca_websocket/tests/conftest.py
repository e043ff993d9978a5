# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import settings

# A loaded machine is no failure.
settings.register_profile("service", deadline=None, max_examples=100)
settings.load_profile("service")
