# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's one family of errors: what was tried, on which thing, why it failed, what to do next.

Plain Python without Ansible or boto3, so that the Lambda functions raise the same errors as the plugins.
"""

from __future__ import annotations

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
    """What the caller asked for can't be done by anybody."""


class CredentialsProblem(AlgoTradingError):
    """There are no credentials, or AWS does not know them, or they have expired."""


class AccessDenied(AlgoTradingError):
    """The credentials are good, the permission is missing."""


class NotFound(AlgoTradingError):
    """The named thing does not exist."""


class WrongRegion(AlgoTradingError):
    """The thing exists, in another region than the one that was asked."""


class Unreachable(AlgoTradingError):
    """No answer came from the endpoint."""


class Throttled(AlgoTradingError):
    """AWS refused because of its request rate, after all retries."""


class Changed(AlgoTradingError):
    """The thing changed while it was being read, so that what was read is not to be trusted."""


# AWS's error codes, and botocore's own exceptions by name: this file must be importable where botocore is not.
_KINDS: dict[type[AlgoTradingError], tuple[str, ...]] = {
    CredentialsProblem: (
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "NotSignedUp",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
        "CredentialRetrievalError",
        "LoginError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    ),
    WrongRegion: (
        "301",
        "307",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "OptInRequired",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
        "NoRegionError",
    ),
    AccessDenied: (
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AccountProblem",
        "AllAccessDisabled",
        "Forbidden",
        "UnauthorizedAccess",
        "UnauthorizedOperation",
    ),
    NotFound: ("404", "NoSuchBucket", "NoSuchKey", "ResourceNotFoundException"),
    Throttled: (
        "503",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    ),
    Unreachable: (
        "ConnectTimeoutError",
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ProxyConnectionError",
        "ReadTimeoutError",
        "SSLError",
    ),
    InvalidInput: ("ParamValidationError",),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}


def sentence(text: str) -> str:
    """The text with one full stop at its end, unless it ends otherwise."""
    text = text.strip()
    return text if not text or text[-1] in ".!?:" else f"{text}."


def error_code(exc: BaseException) -> str:
    """AWS's error code of a botocore ClientError, or an empty string."""
    response: t.Any = getattr(exc, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def kind_of(exc: BaseException) -> type[AlgoTradingError]:
    """Which error of the family a botocore exception amounts to; the base class where no kind fits."""
    names = (error_code(exc), *(cls.__name__ for cls in type(exc).__mro__))
    return next((_KIND_OF[name] for name in names if name in _KIND_OF), AlgoTradingError)


def from_aws(
    action: str, exc: BaseException, remedies: t.Mapping[type[AlgoTradingError], str] | None = None
) -> AlgoTradingError:
    """The error to raise (from `exc`) for a failed AWS call.

    `action` completes "Could not …" and names the thing, for example "list the bucket algo-model-deploy".
    `remedies` says per kind what to do next; the caller knows best what would help.
    """
    kind = kind_of(exc)
    default = {
        CredentialsProblem: "Log in again or name other credentials (profile, access keys, role)",
        Unreachable: "Check the endpoint, the network and the region, then try again",
        Throttled: "Try again in a minute, and find out who else uses up this account's request rate",
    }.get(kind, "")
    return kind(f"Could not {action}: {sentence(str(exc))}", remedy=(remedies or {}).get(kind, default))
