"""Names the AWS operation behind an HTTP request, so that tests count calls the way AWS throttles them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from botocore import xform_name
from botocore.session import Session

# Where the signing name in the credential scope is not the name that boto3 knows the service by.
_BOTO_NAME = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
}

_READS = re.compile(
    r"^(Get|List|Describe|Head|BatchGet|Lookup|Search|Query|Scan|Select|Simulate|Validate|Decode|Check|Test|Preview)"
)
# Operations that read by effect, whatever their name.
_HARMLESS = frozenset({("sts", "AssumeRole"), ("sts", "AssumeRoleWithWebIdentity")})

_SCOPE = re.compile(r"(?:Credential=)([^/,\s]+)/\d{8}/([^/]*)/([^/]+)/aws4_request")
_CBOR_PATH = re.compile(r"^/service/[^/]+/operation/([^/?]+)$")


def credential_scope(environ: Mapping[str, Any]) -> tuple[str, str, str]:
    """Access key, region and boto3 service name that the request was signed for; empty strings if it was not signed."""
    query = parse_qs(environ.get("QUERY_STRING", ""))
    scope = environ.get("HTTP_AUTHORIZATION") or "Credential=" + query.get("X-Amz-Credential", [""])[0]
    found = _SCOPE.search(scope)
    if not found:
        return "", "", ""
    key, region, service = found.groups()
    return key, region, _BOTO_NAME.get(service, service)


def operation(service: str, environ: Mapping[str, Any], body: bytes) -> str:
    """The operation's API name, such as `RunInstances`; the method and path where no name can be found."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        return str(target).rsplit(".", 1)[-1]
    # PATH_INFO is decoded: a slash within an ARN could not be told from one between two parts of the path.
    path = str(environ.get("RAW_URI") or environ.get("PATH_INFO", "/")).partition("?")[0]
    cbor = _CBOR_PATH.match(path)
    if cbor:
        return cbor.group(1)
    if "x-www-form-urlencoded" in str(environ.get("CONTENT_TYPE", "")):
        action = parse_qs(body[:4096].decode("utf-8", "replace")).get("Action")
        if action:
            return action[0]
    query = parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
    if "Action" in query:
        return query["Action"][0]
    return _rest_operation(service, environ, path, query)


def is_write(service: str, name: str, body: bytes) -> bool:
    """Whether the call changes something in the account."""
    if _READS.match(name) or (service, name) in _HARMLESS:
        return False
    return not (service == "ec2" and b"DryRun=true" in body)


def _rest_operation(service: str, environ: Mapping[str, Any], path: str, query: Mapping[str, list[str]]) -> str:
    method = str(environ.get("REQUEST_METHOD", "GET"))
    best: tuple[int, str] | None = None
    for score_of, name in _routes(service, method):
        score = score_of(path, query, environ)
        if score is not None and (best is None or score > best[0]):
            best = (score, name)
    return best[1] if best else f"{method} {path}"


Score = Callable[[str, Mapping[str, list[str]], Mapping[str, Any]], "int | None"]


@cache
def _routes(service: str, method: str) -> list[tuple[Score, str]]:
    try:
        model = Session().get_service_model(service)
    except Exception:  # an unknown service still gets recorded, by method and path
        return []
    routes = []
    for name in model.operation_names:
        op = model.operation_model(name)
        if op.http.get("method") == method:
            routes.append((_matcher(op), name))
    return routes


def _matcher(op: Any) -> Score:
    """A request fits an operation if its path, its fixed query keys and its required parameters are all there."""
    uri, _, fixed_query = str(op.http["requestUri"]).partition("?")
    fixed = dict.fromkeys(part.partition("=")[0] for part in fixed_query.split("&") if part)
    pieces = re.split(r"(\{[^}]+\})", uri.rstrip("/") or "/")
    pattern = "".join(
        (".+" if piece.endswith("+}") else "[^/]+") if piece.startswith("{") else re.escape(piece) for piece in pieces
    )
    path_re = re.compile(f"^{pattern}/?$")
    literal = sum(len(piece) for piece in pieces if not piece.startswith("{"))
    headers, queries = [], []
    shape = op.input_shape
    for member in shape.required_members if shape else []:
        where = shape.members[member].serialization
        if where.get("location") == "header":
            headers.append("HTTP_" + where.get("name", xform_name(member)).upper().replace("-", "_"))
        elif where.get("location") == "querystring":
            queries.append(where.get("name", member))

    def score(path: str, query: Mapping[str, list[str]], environ: Mapping[str, Any]) -> int | None:
        if not path_re.match(path):
            return None
        if any(key not in query for key in (*fixed, *queries)) or any(name not in environ for name in headers):
            return None
        return 1000 * (len(fixed) + len(queries) + len(headers)) + literal

    return score
