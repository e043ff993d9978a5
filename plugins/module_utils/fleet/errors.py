# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One family of errors, and the one place that tells AWS's refusals apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What an error means for the fleet, not how AWS spells it.
THROTTLED = "throttled"
CAPACITY = "capacity"
SUBNET_FULL = "subnet_full"
QUOTA = "quota"
DENIED = "denied"
PARAMETER = "parameter"
IDEMPOTENCY = "idempotency"
NOT_FOUND = "not_found"
PROTECTED = "protected"
TRANSIENT = "transient"
UNKNOWN = "unknown"

# Safe to send again unchanged: either nothing happened, or the client token makes the repetition harmless.
RETRYABLE = frozenset({THROTTLED, TRANSIENT})

_KINDS: dict[str, tuple[str, ...]] = {
    THROTTLED: (
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "SlowDown",
        "EC2ThrottledException",
        "BandwidthLimitExceeded",
    ),
    CAPACITY: (
        "InsufficientInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientCapacityOnHost",
        "SpotMaxPriceTooLow",
        "Unsupported",
        "UnsupportedInstanceAttribute",
        "UnfulfillableCapacity",
    ),
    SUBNET_FULL: ("InsufficientFreeAddressesInSubnet", "InsufficientAddressCapacity", "PrivateIpAddressLimitExceeded"),
    QUOTA: (
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotInstanceCountExceeded",
        "VolumeLimitExceeded",
        "MaxIOPSLimitExceeded",
        "NetworkInterfaceLimitExceeded",
        "TagLimitExceeded",
        "ResourceLimitExceeded",
        "ServiceQuotaExceededException",
    ),
    DENIED: (
        "UnauthorizedOperation",
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "OptInRequired",
        "PendingVerification",
        "Blocked",
    ),
    IDEMPOTENCY: ("IdempotentParameterMismatch", "IdempotentInstanceTerminated", "InvalidClientToken"),
    NOT_FOUND: ("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed", "InvalidInstanceID"),
    PROTECTED: ("OperationNotPermitted",),
    TRANSIENT: (
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "Unavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerInternal",
        "ConcurrentTagAccess",
        "IncorrectInstanceState",
        "IncorrectState",
    ),
}
_KIND_OF_CODE = {code: kind for kind, codes in _KINDS.items() for code in codes}
_PARAMETER_CODE = re.compile(
    r"^(Invalid|Missing|Unknown|Malformed|Validation|NoSuchEntity|Unsupported|.*\.(NotFound|Malformed)$)"
)

ADVICE: dict[str, str] = {
    THROTTLED: "The account's request budget is used up, probably by another client. "
    "Run again later, or lower rate_limits.factor so that this client takes a smaller part.",
    CAPACITY: "AWS has no such capacity there now. Put more instance types or subnets in the ranked lists, "
    "or run again later.",
    SUBNET_FULL: "The subnet has no free address left. Add a subnet, or use a larger one.",
    QUOTA: "A quota of the account is used up. Ask for more in the Service Quotas console, "
    "or put a type of another family in the ranked list, then run again.",
    DENIED: "The identity in use may not do this. Compare its policy with the one in docs, "
    "and check account and region.",
    PARAMETER: "AWS refuses a setting. Correct it and run again; nothing was launched by this request.",
    PROTECTED: "The instance is protected against termination. Switch its protection off on purpose, then run again.",
    TRANSIENT: "AWS or the network did not answer. Run again: the run continues where this one ended.",
    NOT_FOUND: "The instance is gone. Run again: the run starts from what is there.",
    IDEMPOTENCY: "A client token was used before with other parameters. Run again.",
    UNKNOWN: "Not a known refusal. See the cause.",
}


class FleetError(Exception):
    """Anything that the fleet's code reports on purpose. The message is for the operator."""


class SettingsError(FleetError):
    """The settings or the list of models are not usable. Nothing was called."""


class GuardError(FleetError):
    """A guard rail refuses the plan. Nothing was changed."""


class PlanMovedError(FleetError):
    """A saved plan no longer describes what would happen. Nothing was changed."""


class ApiError(FleetError):
    """One refused request, with its meaning."""

    def __init__(self, operation: str, kind: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.operation = operation
        self.kind = kind
        self.code = code
        self.message = message

    def explain(self, doing: str) -> str:
        """Say what was tried, what AWS answered, and what to do."""
        return f"Cannot {doing}: {self.operation} answered {self.code} ({self.message}). {ADVICE[self.kind]}"


def kind_of_code(code: str) -> str:
    """Classify an error code, also the codes found in `StateReason` and inside partial answers.

    >>> kind_of_code("Server.InsufficientInstanceCapacity")
    'capacity'
    """
    bare = code.split(".", 1)[1] if code.startswith(("Server.", "Client.")) else code
    if bare in _KIND_OF_CODE:
        return _KIND_OF_CODE[bare]
    return PARAMETER if _PARAMETER_CODE.match(bare) else UNKNOWN


def classify(operation: str, exc: BaseException) -> ApiError:
    """Turn what botocore raised into an ApiError. Needs no botocore import: only its duck types."""
    response = getattr(exc, "response", None)
    if isinstance(response, Mapping) and "Error" in response:
        error = response["Error"]
        code = str(error.get("Code") or "Unknown")
        message = str(error.get("Message") or code)
        kind = kind_of_code(code)
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        # A proxy or an overloaded front end answers without EC2's vocabulary.
        if kind == UNKNOWN and (status >= 500 or code.isdigit()):
            kind = THROTTLED if status == 429 else TRANSIENT
        if kind == UNKNOWN and status == 429:
            kind = THROTTLED
        if code == "OperationNotPermitted" and "terminat" not in message:
            kind = DENIED
        return ApiError(operation, kind, code, message)
    name = type(exc).__name__
    if name in _NETWORK_ERRORS or isinstance(exc, (ConnectionError, TimeoutError)):
        return ApiError(operation, TRANSIENT, name, str(exc))
    if name in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "UnauthorizedSSOTokenError"):
        return ApiError(operation, DENIED, name, str(exc))
    if name in ("ParamValidationError", "EndpointConnectionError", "NoRegionError"):
        return ApiError(operation, PARAMETER, name, str(exc))
    return ApiError(operation, UNKNOWN, name, str(exc))


_NETWORK_ERRORS = frozenset(
    {
        "ConnectionClosedError",
        "ConnectionError",
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ReadTimeoutError",
        "ResponseStreamingError",
        # botocore could not read the answer: it was cut.
        "ResponseParserError",
        "SSLError",
    }
)


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
