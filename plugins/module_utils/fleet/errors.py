# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet's errors: the meaning of each EC2 error, and what an operator can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._errors import (
    CAPACITY,
    CREDENTIALS,
    DENIED,
    IDEMPOTENCY,
    NOT_FOUND,
    NOT_OFFERED,
    NOT_READY,
    PARAMETER,
    PROFILE_NOT_READY,
    PROTECTED,
    QUOTA,
    REGION,
    STATE,
    SUBNET_FULL,
    THROTTLED,
    TRANSIENT,
    UNKNOWN,
    UNREACHABLE,
    kind_of,
    kind_of_code,
)

__all__ = [
    "ADVICE",
    "CAPACITY",
    "CREDENTIALS",
    "DENIED",
    "IDEMPOTENCY",
    "LAUNCH",
    "NOT_FOUND",
    "NOT_OFFERED",
    "NOT_READY",
    "PARAMETER",
    "PROTECTED",
    "QUOTA",
    "REGION",
    "RETRYABLE",
    "SLOW_TO_APPEAR",
    "STATE",
    "SUBNET_FULL",
    "THROTTLED",
    "TRANSIENT",
    "UNKNOWN",
    "UNREACHABLE",
    "ApiError",
    "FatalError",
    "FleetError",
    "GuardError",
    "PlanMovedError",
    "SettingsError",
    "classify",
    "death_at_launch",
    "kind_of_code",
    "partial_errors",
]

# Safe to send again unchanged: either nothing happened, or the client token makes the repetition harmless.
RETRYABLE = frozenset({THROTTLED, TRANSIENT, UNREACHABLE})
# A new resource may take longer to appear everywhere than other errors last.
SLOW_TO_APPEAR = frozenset({NOT_FOUND, NOT_READY})
# EC2 accepted a launch and terminated the instance at once. Not an AWS error code.
LAUNCH = "launch"
# Every other request of the run would fail as well.
HOPELESS = frozenset({CREDENTIALS, REGION, THROTTLED, UNREACHABLE})

ADVICE: dict[str, str] = {
    THROTTLED: "The account's API request rate is used up, probably by another client. "
    "Run again later, or lower rate_limits.factor so that this client uses less of it.",
    CAPACITY: "Add instance types or subnets to the ranked lists, or run again later.",
    SUBNET_FULL: "The subnet has no free addresses. Add a subnet, or use a larger one.",
    QUOTA: "A quota of the account is used up. Request an increase in the Service Quotas console, "
    "or add a type of another family to the ranked list, then run again.",
    DENIED: "The identity in use is not allowed to do this. Compare its policy with the one in docs, "
    "and check account and region.",
    CREDENTIALS: "AWS rejected the credentials. Log in again, or use others (profile, access keys, role).",
    REGION: "The request went to the wrong region. Correct the region.",
    PARAMETER: "AWS rejected a setting. Correct it and run again; this request launched nothing.",
    PROTECTED: "The instance is protected against termination. Turn its termination protection off, then run again.",
    TRANSIENT: "AWS or the network did not respond. Run again: it continues where this run ended.",
    UNREACHABLE: "No response. Check the endpoint, the network and the region, then run again: it continues "
    "where this run ended.",
    NOT_OFFERED: "The endpoint is an emulator and does not support this operation.",
    STATE: "The instance's state does not allow this. Check it in EC2; the next run tries again.",
    LAUNCH: "EC2 accepted the launch and terminated the instance at once.",
    NOT_READY: "A new instance profile takes a moment to reach EC2. If it exists, run again; "
    "otherwise correct instance_profile_name.",
    NOT_FOUND: "The instance no longer exists. Run again: the run reads the current state.",
    IDEMPOTENCY: "The client token was already used with other parameters. Run again.",
    UNKNOWN: "Unknown error. See the message from AWS.",
}


class FleetError(Exception):
    """Base of the fleet's errors. The message is for the operator."""


class SettingsError(FleetError):
    """The settings or the list of models are not valid. No AWS call was made."""


class FatalError(FleetError):
    """The rest of this run cannot succeed. Changes made so far stay."""


class GuardError(FleetError):
    """A guard refuses the plan. Nothing was changed."""


class PlanMovedError(FleetError):
    """A saved plan no longer describes what would happen. Nothing was changed."""


class ApiError(FleetError):
    """One failed request, classified."""

    def __init__(self, operation: str, kind: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.operation = operation
        self.kind = kind
        self.code = code
        self.message = message

    @property
    def hopeless(self) -> bool:
        """Would every other request of this run fail the same way?"""
        return self.kind in HOPELESS

    def explain(self, doing: str) -> str:
        """Say what was tried, what AWS answered, and what to do."""
        return f"Cannot {doing}: {self.operation} answered {self.code} ({self.message}). {ADVICE[self.kind]}"


def death_at_launch(code: str) -> bool:
    """Whether this state reason says that the launch itself could not work, however often it is repeated.

    >>> death_at_launch("Client.InternalError"), death_at_launch("Server.InternalError")
    (True, False)
    """
    return code.startswith("Client.") and not code.endswith(("Shutdown", "Hibernate"))


def classify(operation: str, exc: BaseException) -> ApiError:
    """Turn what botocore raised into an ApiError. Needs no botocore import: only its duck types."""
    response = getattr(exc, "response", None)
    if isinstance(response, Mapping) and "Error" in response:
        error = response["Error"]
        code = str(error.get("Code") or "Unknown")
        message = str(error.get("Message") or code)
        kind = NOT_READY if any(text in message for text in PROFILE_NOT_READY) else kind_of_code(code)
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        # A proxy or an overloaded front end answers without EC2's vocabulary.
        if kind == UNKNOWN and (status >= 500 or code.isdigit()):
            kind = THROTTLED if status == 429 else TRANSIENT
        if kind == UNKNOWN and status == 429:
            kind = THROTTLED
        if code == "OperationNotPermitted" and "terminat" not in message:
            kind = DENIED
        if code == "AuthFailure" and "credentials" in message:
            kind = CREDENTIALS
        return ApiError(operation, kind, code, message)
    return ApiError(operation, kind_of(exc), type(exc).__name__, str(exc))


def partial_errors(operation: str, response: Mapping[str, Any]) -> list[tuple[str, ApiError]]:
    """Find refusals inside an answer that counts as a success: (id of the item or '', error)."""
    found: list[tuple[str, ApiError]] = []
    for item in [*(response.get("Errors") or []), *(response.get("Unsuccessful") or [])]:
        error = item.get("Error", item)
        code = str(error.get("Code") or error.get("ErrorCode") or "Unknown")
        message = str(error.get("Message") or error.get("ErrorMessage") or code)
        item_id = str(item.get("ResourceId") or item.get("InstanceId") or "")
        found.append((item_id, ApiError(operation, kind_of_code(code), code, message)))
    return found
