# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's errors, and the one table that tells what AWS's refusals mean.

Plain Python without Ansible or boto3, so that the Lambda functions raise the same errors as the plugins.
"""

from __future__ import annotations

import re
import typing as t


class AlgoTradingError(Exception):
    """Base of the family. Turned into `fail_json` or `AnsibleLookupError` at the edge, nowhere else."""

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{sentence(self.problem)} {sentence(self.remedy)}".strip()


class InvalidInput(AlgoTradingError):
    """The request is invalid, whoever makes it."""


class CredentialsProblem(AlgoTradingError):
    """There are no credentials, or AWS does not know them, or they have expired."""


class AccessDenied(AlgoTradingError):
    """The credentials are valid, a permission is missing."""


class NotFound(AlgoTradingError):
    """The named resource does not exist."""


class WrongRegion(AlgoTradingError):
    """The resource exists, in another region than the one that was asked."""


class Unreachable(AlgoTradingError):
    """The endpoint did not respond."""


class Throttled(AlgoTradingError):
    """AWS refused because of its request rate, after all retries."""


class Changed(AlgoTradingError):
    """The resource changed while it was being read, so the reading is not reliable."""


# Meaning of an error, independent of AWS's code for it.
THROTTLED = "throttled"
CAPACITY = "capacity"
SUBNET_FULL = "subnet_full"
QUOTA = "quota"
CREDENTIALS = "credentials"
DENIED = "denied"
REGION = "region"
PARAMETER = "parameter"
IDEMPOTENCY = "idempotency"
NOT_FOUND = "not_found"
PROTECTED = "protected"
TRANSIENT = "transient"
UNREACHABLE = "unreachable"
STATE = "state"
NOT_READY = "not_ready"
NOT_OFFERED = "not_offered"
UNKNOWN = "unknown"

# AWS's error codes, and botocore's own exceptions by name: this file must be importable where botocore is not.
_CODES: dict[str, tuple[str, ...]] = {
    THROTTLED: (
        "429",
        "503",
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    ),
    CAPACITY: (
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "InsufficientReservedInstanceCapacity",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",
        "UnsupportedInstanceAttribute",
    ),
    SUBNET_FULL: ("InsufficientAddressCapacity", "InsufficientFreeAddressesInSubnet", "PrivateIpAddressLimitExceeded"),
    QUOTA: (
        "InstanceLimitExceeded",
        "MaxIOPSLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "NetworkInterfaceLimitExceeded",
        "ResourceLimitExceeded",
        "ServiceQuotaExceededException",
        "SpotInstanceCountExceeded",
        "TagLimitExceeded",
        "VcpuLimitExceeded",
        "VolumeLimitExceeded",
    ),
    CREDENTIALS: (
        "CredentialRetrievalError",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "LoginError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "NotSignedUp",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SSOError",
        "SSOTokenLoadError",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    ),
    DENIED: (
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AccountProblem",
        "AllAccessDisabled",
        # EC2 says so of credentials that it can't check and, more often, of an image that is not shared with us.
        "AuthFailure",
        "Blocked",
        "Forbidden",
        # A marketplace image's terms are not accepted, or a region is not enabled for the account.
        "OptInRequired",
        "PendingVerification",
        "UnauthorizedAccess",
        "UnauthorizedOperation",
    ),
    REGION: (
        "301",
        "307",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "NoRegionError",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    ),
    IDEMPOTENCY: ("IdempotentInstanceTerminated", "IdempotentParameterMismatch", "InvalidClientToken"),
    NOT_FOUND: (
        "404",
        "InvalidInstanceID",
        "InvalidInstanceID.Malformed",
        "InvalidInstanceID.NotFound",
        "NoSuchBucket",
        "NoSuchKey",
        "NotFound",
        "ResourceNotFoundException",
    ),
    PROTECTED: ("OperationNotPermitted",),
    TRANSIENT: (
        "ConcurrentTagAccess",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
    ),
    # The resource is in a state that does not allow the request; repeating it at once changes nothing.
    STATE: ("IncorrectInstanceState", "IncorrectSpotRequestState", "IncorrectState"),
    UNREACHABLE: (
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        # botocore could not read the answer: it was cut.
        "ResponseParserError",
        "ResponseStreamingError",
        "SSLError",
        "TimeoutError",
    ),
    PARAMETER: ("ParamValidationError",),
    # How emulators say that they lack an operation; AWS itself answers so to nothing that we ask.
    NOT_OFFERED: ("InvalidAction", "NotImplemented", "UnknownOperation", "UnknownOperationException"),
}
# Refusals under a code that also means other errors: a new instance profile is not yet known to EC2. Transient.
PROFILE_NOT_READY = ("Invalid IAM Instance Profile",)
_KIND_OF = {code: kind for kind, codes in _CODES.items() for code in codes}
# The many codes by which AWS refuses a value have a form in common.
_PARAMETER_CODE = re.compile(
    r"^(Invalid|Missing|Unknown|Malformed|Validation|NoSuchEntity|Unsupported|.*\.(NotFound|Malformed)$)"
)
_CLASSES: dict[str, type[AlgoTradingError]] = {
    CREDENTIALS: CredentialsProblem,
    DENIED: AccessDenied,
    NOT_FOUND: NotFound,
    PARAMETER: InvalidInput,
    REGION: WrongRegion,
    THROTTLED: Throttled,
    UNREACHABLE: Unreachable,
}


def sentence(text: str) -> str:
    """The text with one full stop at its end, unless it ends otherwise."""
    text = text.strip()
    return text if not text or text[-1] in ".!?:" else f"{text}."


def error_code(exc: BaseException | None) -> str:
    """AWS's error code of a botocore ClientError, or an empty string."""
    response: t.Any = getattr(exc, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def kind_of_code(code: str) -> str:
    """Classify an error code, also the codes found in `StateReason` and inside partial answers.

    >>> kind_of_code("Server.InsufficientInstanceCapacity")
    'capacity'
    """
    bare = code.split(".", 1)[1] if code.startswith(("Server.", "Client.")) else code
    if bare in _KIND_OF:
        return _KIND_OF[bare]
    return PARAMETER if _PARAMETER_CODE.match(bare) else UNKNOWN


def kind_of(exc: BaseException) -> str:
    """What an exception of botocore, or of Python's own network code, means."""
    code = error_code(exc)
    if any(text in str(exc) for text in PROFILE_NOT_READY):
        return NOT_READY
    kind = kind_of_code(code) if code else UNKNOWN
    if kind != UNKNOWN:
        return kind
    names = (cls.__name__ for cls in type(exc).__mro__)
    return next((_KIND_OF[name] for name in names if name in _KIND_OF), UNKNOWN)


def from_aws(
    action: str, exc: BaseException, remedies: t.Mapping[type[AlgoTradingError], str] | None = None
) -> AlgoTradingError:
    """The error to raise (from `exc`) for a failed AWS call.

    `action` completes "Could not …" and names the resource, for example "list the bucket algo-model-deploy".
    `remedies` says per kind what to do next; the caller knows best what would help.
    """
    kind = _CLASSES.get(kind_of(exc), AlgoTradingError)
    default = {
        CredentialsProblem: "Log in again, or use other credentials (profile, access keys, role)",
        Unreachable: "Check the endpoint, the network and the region, then try again",
        Throttled: "Try again in a minute, and find the other client that uses up this account's request rate",
    }.get(kind, "")
    return kind(f"Could not {action}: {sentence(str(exc))}", remedy=(remedies or {}).get(kind, default))
