"""Evaluates IAM policies: whether statements allow an action on a resource in a context. Pure.

The rules are those of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html for
identity-based policies of one account and a permissions boundary.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Any

Context = Mapping[str, "str | Sequence[str]"]


@dataclass(frozen=True)
class Policy:
    """A policy document under the name that a report shows."""

    name: str
    document: str

    def statements(self) -> tuple[Mapping[str, Any], ...]:
        return _statements(self.document)


@dataclass(frozen=True)
class Verdict:
    """Whether a request is allowed, and by which statement: its policy's name and its number, from 0."""

    allowed: bool
    by: tuple[str, int] | None = None
    explicit: bool = False  # a statement denies it, rather than none allowing it


def evaluate(policies: Iterable[Policy], action: str, resource: str, context: Context) -> Verdict:
    """Look for a statement that denies, then for one that allows.

    :param resource: an ARN, or ``*`` for actions that know no resources
    """
    allowed: tuple[str, int] | None = None
    for policy in policies:
        for number, statement in enumerate(policy.statements()):
            if not _concerns(statement, action, resource, context):
                continue
            if statement.get("Effect") == "Deny":
                return Verdict(False, (policy.name, number), explicit=True)
            allowed = allowed or (policy.name, number)
    return Verdict(allowed is not None, allowed)


@cache
def _statements(document: str) -> tuple[Mapping[str, Any], ...]:
    statements = json.loads(document).get("Statement", [])
    return tuple(statements if isinstance(statements, list) else [statements])


def _concerns(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    lowered = {name.lower(): value for name, value in context.items()}
    if "Action" in statement:
        named = any(like(action.lower(), pattern.lower()) for pattern in _list(statement["Action"]))
    else:
        named = not any(like(action.lower(), pattern.lower()) for pattern in _list(statement["NotAction"]))
    if not named:
        return False
    if "Resource" in statement:
        meant = any(like(resource, _filled(pattern, lowered)) for pattern in _list(statement["Resource"]))
    else:
        meant = not any(like(resource, _filled(pattern, lowered)) for pattern in _list(statement["NotResource"]))
    conditions = statement.get("Condition") or {}
    deny = statement.get("Effect") == "Deny"
    return meant and all(
        _holds(operator, key, [_filled(str(value), lowered) for value in _list(values)], lowered, deny)
        for operator, keys in conditions.items()
        for key, values in keys.items()
    )


def like(text: str, pattern: str) -> bool:
    """Whether a text fits a pattern with ``*`` and ``?``, which also stand for slashes and colons."""
    return _pattern(pattern).fullmatch(text) is not None


@cache
def _pattern(pattern: str) -> re.Pattern[str]:
    # fnmatch knows brackets, which policies do not.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.DOTALL)


def _filled(text: str, context: Mapping[str, Any]) -> str:
    """The text with its policy variables; one that is not in the request matches nothing."""

    def value(found: re.Match[str]) -> str:
        name, _, default = found[1].partition(",")
        if name in ("*", "?", "$"):
            return f"[{name}]" if name != "$" else "$"
        known = context.get(name.strip().lower())
        return str(known) if isinstance(known, str) else default.strip(" '") or "\0"

    return re.sub(r"\$\{([^}]+)\}", value, text)


def _holds(operator: str, key: str, values: list[str], context: Mapping[str, Any], deny: bool) -> bool:
    qualifier, _, name = operator.rpartition(":")
    optional = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    given = context.get(key.lower())
    if name == "Null":
        return (given is None) == (values[0].lower() == "true")
    actual = [] if given is None else [given] if isinstance(given, str) else list(given)
    negated = name in _NEGATED
    test = _TESTS.get(_NEGATED.get(name, name))
    if test is None:  # unknown conditions never match
        return deny

    def fits(one: str) -> bool:
        try:
            return any(test(one, value) for value in values) != negated
        except ValueError:  # no number, no date, no address: it matches nothing
            return negated

    if qualifier == "ForAllValues":
        return all(fits(one) for one in actual)
    if qualifier == "ForAnyValue":
        return any(fits(one) for one in actual)
    if not actual:
        return optional or negated
    return fits(actual[0])


def _number(test: Any) -> Any:
    return lambda actual, value: test(float(actual), float(value))


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _date(test: Any) -> Any:
    return lambda actual, value: test(_moment(actual), _moment(value))


def _arn_like(actual: str, value: str) -> bool:
    """As with strings, except that a wildcard does not reach across the first five colons."""
    parts, patterns = actual.split(":", 5), value.split(":", 5)
    return len(parts) == len(patterns) and all(like(a, b) for a, b in zip(parts, patterns, strict=True))


_TESTS: dict[str, Any] = {
    "StringEquals": lambda actual, value: actual == value,
    "StringEqualsIgnoreCase": lambda actual, value: actual.lower() == value.lower(),
    "StringLike": like,
    "ArnLike": _arn_like,
    "ArnEquals": _arn_like,
    "Bool": lambda actual, value: actual.lower() == value.lower(),
    "NumericEquals": _number(lambda a, b: a == b),
    "NumericLessThan": _number(lambda a, b: a < b),
    "NumericLessThanEquals": _number(lambda a, b: a <= b),
    "NumericGreaterThan": _number(lambda a, b: a > b),
    "NumericGreaterThanEquals": _number(lambda a, b: a >= b),
    "DateEquals": _date(lambda a, b: a == b),
    "DateLessThan": _date(lambda a, b: a < b),
    "DateLessThanEquals": _date(lambda a, b: a <= b),
    "DateGreaterThan": _date(lambda a, b: a > b),
    "DateGreaterThanEquals": _date(lambda a, b: a >= b),
    "IpAddress": lambda actual, value: ip_address(actual) in ip_network(value, strict=False),
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotLike": "ArnLike",
    "ArnNotEquals": "ArnEquals",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
