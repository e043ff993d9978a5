# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Lambda handles asynchronous invocations: what users see of it, and one function per API call."""

from __future__ import annotations

from typing import Any

from ._aws import Api

MISSING = ("ResourceNotFoundException",)


def _which(name: str, qualifier: str | None) -> dict[str, str]:
    """The arguments by which Lambda knows a function."""
    return {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}


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


def find_invocation(api: Api, name: str, qualifier: str | None = None) -> dict[str, Any]:
    """The configuration as users see it; empty where it (or its function) does not exist."""
    doing = f"read the asynchronous invocation settings of {name}"
    return invocation_view(api.find("get_function_event_invoke_config", doing, **_which(name, qualifier)))


def put_config(api: Api, name: str, qualifier: str | None, wanted: dict[str, Any]) -> None:
    """Set the whole configuration."""
    destinations = {
        field: {"Destination": wanted[option]}
        for option, field in (("on_failure", "OnFailure"), ("on_success", "OnSuccess"))
        if wanted[option]
    }
    api.call(
        "put_function_event_invoke_config",
        f"set the asynchronous invocation settings of {name}",
        MaximumRetryAttempts=wanted["maximum_retry_attempts"],
        MaximumEventAgeInSeconds=wanted["maximum_event_age_in_seconds"],
        DestinationConfig=destinations,
        **_which(name, qualifier),
    )


def delete_config(api: Api, name: str, qualifier: str | None) -> bool:
    """Delete the configuration; False if it no longer exists."""
    doing = f"reset the asynchronous invocation settings of {name}"
    return api.delete("delete_function_event_invoke_config", doing, **_which(name, qualifier))
