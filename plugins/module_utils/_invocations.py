# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Lambda handles asynchronous invocations, as a value."""

from __future__ import annotations

from typing import Any


def invocation_view(config: dict[str, Any] | None) -> dict[str, Any]:
    """What users see of a configuration; empty for none."""
    if config is None:
        return {}
    destinations = config.get("DestinationConfig") or {}
    attempts, age = config.get("MaximumRetryAttempts"), config.get("MaximumEventAgeInSeconds")
    return {
        "maximum_retry_attempts": 2 if attempts is None else attempts,
        "maximum_event_age_in_seconds": 21600 if age is None else age,
        "on_failure": (destinations.get("OnFailure") or {}).get("Destination") or "",
        "on_success": (destinations.get("OnSuccess") or {}).get("Destination") or "",
    }
