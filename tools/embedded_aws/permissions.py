"""Permissions are enforced: a call with a role's credentials needs what AWS requires, else it is refused as AWS would.

Calls with credentials of no role, the operator's, are let through unless a role is named for them (`operator`).
What each operation needs is in `needs`; an operation that is not listed there needs itself on ``*``.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from . import account
from .needs import Need, needs
from .policies import Policy, Verdict, evaluate
from .recording import Answer, Request


@dataclass(frozen=True)
class Refusal:
    """What was refused, to whom, and why; kept for reports."""

    role: str
    action: str
    resource: str
    explicit: bool
    bounded: bool  # by the permissions boundary, rather than by a policy

    def text(self, who: str) -> str:
        what = "permissions boundary" if self.bounded else "identity-based policy"
        why = (
            f"with an explicit deny in {'a' if self.bounded else 'an'} {what}"
            if self.explicit
            else f"because no {what} allows the {self.action} action"
        )
        return f"User: {who} is not authorized to perform: {self.action} on resource: {self.resource} {why}"


class Permissions:
    """Looks at each request before moto does."""

    def __init__(self, moto: AbstractContextManager[Any], log: Callable[[str], None]) -> None:
        self._moto, self._log = moto, log
        self._lock = threading.Lock()
        self._used: set[tuple[str, str, str | int]] = set()  # role, policy, statement
        self._refused: list[Refusal] = []
        self.operator = ""
        """ARN of the role whose policies stand for everybody without a role; empty: they may do anything."""

    def __call__(self, request: Request) -> Answer | None:
        """An answer if the request is refused, nothing if it may go on."""
        with self._moto:
            if account.expired(request.access_key):
                return _refuse(request, "The security token included in the request is expired", "ExpiredToken")
            arn = account.role_of(request.access_key) or self.operator
            if not arn:
                return None
            role = account.role(arn)
            policies, boundary = _policies(role) if role else ([], None)
            wanted = list(needs(request))
        for need in wanted:
            verdict, bounded = self._decide(arn, policies, boundary, need)
            if not verdict.allowed:
                refusal = Refusal(arn, need.action, need.resource, verdict.explicit, bounded)
                with self._lock:
                    self._refused.append(refusal)
                who = f"{arn.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/session"
                self._log(f"refused: {refusal.text(who)}")
                return _refuse(request, refusal.text(who))
        return None

    def _decide(self, arn: str, policies: list[Policy], boundary: Policy | None, need: Need) -> tuple[Verdict, bool]:
        """The verdict, and whether it is the boundary's."""
        verdict = evaluate(policies, need.action, need.resource, need.context)
        if verdict.allowed and boundary is not None:
            bounded = evaluate([boundary], need.action, need.resource, need.context)
            if not bounded.allowed:
                return bounded, True
        if verdict.allowed and verdict.by is not None:
            name, number = verdict.by
            statement = next(each for each in policies if each.name == name).statements()[number]
            with self._lock:
                self._used.add((arn, name, statement.get("Sid") or number))
        return verdict, False

    def forget(self) -> None:
        with self._lock:
            self._used.clear()
            self._refused.clear()

    def report(self) -> dict[str, Any]:
        """What was refused, and which statements of the account's roles no call has needed."""
        with self._moto:
            roles = {role.arn: _policies(role)[0] for role in account.backend("iam", account.PARTITION).roles.values()}
        with self._lock:
            acted = {arn for arn, _policy, _number in self._used}
            unused = [
                {"role": arn, "policy": policy.name, "statement": statement.get("Sid") or number}
                for arn, policies in sorted(roles.items())
                if arn in acted
                for policy in policies
                for number, statement in enumerate(policy.statements())
                if statement.get("Effect") == "Allow"
                and (arn, policy.name, statement.get("Sid") or number) not in self._used
            ]
            refused = [vars(refusal) for refusal in self._refused]
        silent = sorted(arn for arn in roles if arn not in acted)
        return {"refused": refused, "unneeded": unused, "roles_without_calls": silent}


def _policies(role: Any) -> tuple[list[Policy], Policy | None]:
    """A role's policies and its permissions boundary, as moto keeps them."""
    own = [Policy(name, _text(document)) for name, document in role.policies.items()]
    own += [Policy(policy.name, _managed(policy)) for policy in role.managed_policies.values()]
    boundary = None
    if role.permissions_boundary_arn:
        found = account.backend("iam", account.PARTITION).managed_policies.get(role.permissions_boundary_arn)
        # A missing boundary denies everything.
        boundary = Policy("boundary", _managed(found) if found else '{"Statement": []}')
    return own, boundary


def _managed(policy: Any) -> str:
    return next(_text(each.document) for each in policy.versions if each.version_id == policy.default_version_id)


def _text(document: Any) -> str:
    return document if isinstance(document, str) else json.dumps(document)


def _refuse(request: Request, message: str, code: str = "") -> Answer:
    """The refusal in the service's own protocol.

    :param code: instead of the service's own for a missing permission
    """
    number = f"{time.time_ns():032x}"
    if request.service == "ec2":
        text = message if code else f"You are not authorized to perform this operation. {message}"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error>'
            f"<Code>{'RequestExpired' if code else 'UnauthorizedOperation'}</Code>"
            f"<Message>{escape(text)}</Message></Error></Errors>"
            f"<RequestID>{number}</RequestID></Response>"
        )
        return Answer("403 Forbidden", {"Content-Type": "text/xml"}, body.encode())
    if request.service == "s3":
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code or "AccessDenied"}</Code>'
            f"<Message>{escape(message)}</Message><RequestId>{number}</RequestId></Error>"
        )
        return Answer("403 Forbidden", {"Content-Type": "application/xml"}, body.encode())
    if request.service == "route53" or "x-www-form-urlencoded" in request.headers.get("content-type", ""):
        denied = "AuthorizationError" if request.service == "sns" else "AccessDenied"
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code or denied}</Code>"
            f"<Message>{escape(message)}</Message></Error><RequestId>{number}</RequestId></ErrorResponse>"
        )
        return Answer("403 Forbidden", {"Content-Type": "text/xml"}, body.encode())
    kind = f"{code or 'AccessDenied'}Exception"
    if "cbor" in request.headers.get("content-type", ""):
        headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"}
        return Answer("400 Bad Request", headers, _cbor({"__type": kind, "message": message}))
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": kind}
    return Answer(
        "403 Forbidden" if request.service in ("lambda", "scheduler") else "400 Bad Request",
        headers,
        json.dumps({"__type": kind, "message": message, "Message": message}).encode(),
    )


def _cbor(document: dict[str, str]) -> bytes:
    """A map of texts in CBOR (RFC 8949), which is all that an error is."""

    def text(value: str) -> bytes:
        data = value.encode()
        return b"\x79" + len(data).to_bytes(2, "big") + data

    return bytes([0xA0 + len(document)]) + b"".join(text(name) + text(value) for name, value in document.items())
