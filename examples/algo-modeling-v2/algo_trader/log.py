# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line of JSON for each thing worth knowing; journald adds the time."""

from __future__ import annotations

import json
import sys
from typing import Any


def log(message: str, **more: Any) -> None:
    print(json.dumps({"message": message, **more}), file=sys.stderr, flush=True)
