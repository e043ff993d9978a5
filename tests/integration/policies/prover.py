"""What no identity may do, as claims that an SMT solver proves or refutes with a request that would be allowed.

The semantics of IAM policies come from iamprover; a condition operator it does not know counts as fulfilled, so that
an error of it can only make a proof fail. A context key that a request does not carry is modelled as an empty string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import z3
from ansible_collections.algo.trading.plugins.module_utils._components import COMPONENTS
from ansible_collections.algo.trading.tests.integration.policies.identities import (
    ACCOUNT,
    PROJECT,
    REGION,
    Document,
    Identity,
    buckets,
    resource_name,
)
from iamprover.engine.conditions import encode_conditions
from iamprover.engine.context import Context
from iamprover.engine.patterns import globs_intersect, matches_any
from iamprover.model import Condition, Policy, Principal, Statement
from iamprover.parsers.iam import parse_policy_document

# AWS knows no resource for these: their statements can only say "*". Every one is a reading action, or one that AWS
# itself ties to the calling instance. The role's README gives the reason for each.
UNSCOPED = (
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceStatus",
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
    "ssm:GetCommandInvocation",
    "ssm:ListCommandInvocations",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)
# Could be confined by tag on paper. An agent that is refused here is lost to SSM, and it can only register itself.
SELF_REGISTRATION = ("ssm:UpdateInstanceInformation",)

# Account and region are spelled out: a "*" would run over colons and find things that can't exist.
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}:*"
_NEW_THINGS = (f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*", f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/*")
_INTERFACES = f"arn:aws:ec2:{REGION}:{ACCOUNT}:network-interface/*"
# Promotion launches one environment's image in the next; the owner of an image is checked instead.
_IMAGES = f"arn:aws:ec2:{REGION}::image/*"
_TAG_PREFIXES = ("aws:ResourceTag/", "ec2:ResourceTag/", "ssm:resourceTag/")

_WILDCARD = re.compile(r"[*?]")

Exception_ = tuple[tuple[str, ...], tuple[str, ...]]


def overlap(pattern: str, other: str) -> bool:
    """Whether any string matches both patterns. Most differ before their first wildcard, which is quickly seen."""
    left, right = _WILDCARD.split(pattern, maxsplit=1)[0], _WILDCARD.split(other, maxsplit=1)[0]
    return (left.startswith(right) or right.startswith(left)) and bool(globs_intersect(pattern, other))


@dataclass(frozen=True)
class Claim:
    """No request of this kind is allowed: these actions on these resources, but for exceptions, in such a context."""

    name: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    exceptions: tuple[Exception_, ...] = ()
    equal: Mapping[str, str] = field(default_factory=dict)
    unequal: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """A request that a solver found to be allowed."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str]


class Undecided(Exception):
    """The solver gave up. That is no proof."""


def principal_of(identity: Identity, policy: Document | None = None) -> Principal:
    """An identity as the prover sees it, with its own policy or another in its place."""
    parsed = parse_policy_document(identity.name, policy or identity.policy)
    trust = parse_policy_document("trust", identity.trust)
    return Principal(arn=identity.arn, policies=[_with_absence(parsed)], trust_policy=trust)


def refute(principal: Principal, claim: Claim) -> Request | None:
    """A request that shows the claim wrong; None if there is none among all possible ones.

    Action, resource and context are independent of each other within a statement, so each is decided by itself:
    small questions, where one about all of them takes a solver minutes. Denying statements are left out, which can
    only make a proof fail.
    """
    for statement in (statement for policy in principal.policies for statement in policy.statements):
        if statement.effect != "Allow":
            continue
        for action, exempt in _actions(statement, claim):
            for pattern in ["*"] if statement.not_resources else statement.resources:
                resource = _witness(pattern, claim.resources, exempt)
                context = _context(statement, claim) if resource is not None else None
                if resource is not None and context is not None:
                    return Request(principal.arn, action, resource, context)
    return None


def _actions(statement: Statement, claim: Claim) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Actions that a statement and a claim have in common, each with the resources on which the claim excepts it."""
    for pattern in ["*"] if statement.not_actions else statement.actions:
        name = pattern.lower()
        if "*" in name or "?" in name:
            # Any action will do that no exception names; the exceptions for all actions hold for it as well.
            excepted = {action.lower() for actions, _ in claim.exceptions for action in actions} - {"*"}
            witness = _witness(name, tuple(action.lower() for action in claim.actions), tuple(sorted(excepted)))
            if witness is None:
                continue
            name = witness
        elif not _intersect([name], claim.actions):
            continue
        yield (
            name,
            tuple(
                resource
                for actions, resources in claim.exceptions
                if _intersect([name], actions)
                for resource in resources
            ),
        )


@cache
def _witness(pattern: str, within: tuple[str, ...], but: tuple[str, ...]) -> str | None:
    """A string that matches the pattern and one of `within`, and none of `but`."""
    but = tuple(other for other in but if overlap(pattern, other))
    for other in within:
        if not overlap(pattern, other) or any(
            _covers(excepted, pattern) or _covers(excepted, other) for excepted in but
        ):
            continue
        guess = next((text for text in _guesses(pattern, other) if not any(overlap(text, part) for part in but)), None)
        if guess is not None:
            return guess
        text = z3.String("text")
        constraints = [matches_any(text, [pattern]), matches_any(text, [other])]
        if but:
            constraints.append(z3.Not(matches_any(text, list(but))))
        model = _solve(constraints, f"{pattern} within {other} but {but}")
        if model is not None:
            return str(model.eval(text, model_completion=True).as_string())
    return None


def _guesses(pattern: str, other: str) -> Iterator[str]:
    """Strings that match both patterns, without asking a solver."""
    for text in (pattern, other):
        for filling in ("x", "another"):
            guess = text.replace("*", filling).replace("?", "x")
            if overlap(guess, pattern) and overlap(guess, other):
                yield guess


def _covers(pattern: str, other: str) -> bool:
    """Whether a pattern plainly matches all that another does: the other's wildcards fall under a `*` of its own."""
    expression = "".join({"*": ".*", "?": "[^*]"}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(expression, other) is not None


def _context(statement: Statement, claim: Claim) -> dict[str, str] | None:
    """A context that fulfils a statement's conditions and lies within the claim; None if there is none."""
    context = Context()
    constraints = [context.constrain(key, value) for key, value in claim.equal.items()]
    for key, values in claim.unequal.items():
        constraints += [context.string(key) != z3.StringVal(value) for value in values]
    constraints.append(encode_conditions(statement.conditions, context, unknown_default=True))
    model = _solve(constraints, f"{claim.name}: conditions")
    return None if model is None else context.assignments(model)


def _solve(constraints: list[z3.BoolRef], what: str) -> z3.ModelRef | None:
    solver = z3.Solver()
    solver.set("timeout", 60_000)
    solver.add(*constraints)
    answer = solver.check()
    if answer == z3.unsat:
        return None
    if answer != z3.sat:
        raise Undecided(f"{what}: {solver.reason_unknown()}")
    return solver.model()


def allows(principal: Principal, action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether one request is allowed. What its context does not name, it does not carry."""
    keys = {
        condition.key
        for policy in principal.policies
        for statement in policy.statements
        for condition in statement.conditions
    }
    absent = {key: "" for key in keys if key.lower() not in {name.lower() for name in context}}
    claim = Claim("one request", (action,), (resource,), equal={**absent, **context})
    return refute(principal, claim) is not None


def of_another(own: str, other: str) -> Claim:
    """Nothing named after another environment may be touched."""
    return Claim(f"{own} leaves what is named after {other} alone", ("*",), named(other), (_UNSCOPED_ANYWHERE,))


def own_only(environment: str) -> list[Claim]:
    """Whatever is touched is the environment's own: by name, or by tag where an id does not tell."""
    others = {f"{prefix}Environment": (environment, "") for prefix in _TAG_PREFIXES}
    untagged = {f"{prefix}Environment": "" for prefix in _TAG_PREFIXES}
    # A key of its own, sent only while something is being made.
    standing = {"ec2:CreateAction": ""}
    launch: Exception_ = (("ec2:RunInstances",), (*_NEW_THINGS, _IMAGES))
    launch_interface: Exception_ = (("ec2:RunInstances",), (_INTERFACES,))
    both = (_UNSCOPED_ANYWHERE, launch)
    return [
        Claim(
            f"{environment} touches only what is named after it",
            ("*",),
            ("*",),
            (_UNSCOPED_ANYWHERE, (("*",), (*named(environment), EC2, _IMAGES))),
        ),
        Claim(f"{environment} leaves what is tagged otherwise alone", ("*",), (EC2,), both, standing, others),
        Claim(
            f"{environment} leaves what is not tagged alone",
            ("*",),
            (EC2,),
            (*both, launch_interface),
            {**standing, **untagged},
        ),
        Claim(
            f"{environment} makes and tags nothing in another's name",
            ("ec2:Create*", "ec2:DeleteTags", "ec2:RunInstances"),
            (*_NEW_THINGS, _INTERFACES),
            unequal={"aws:RequestTag/Environment": (environment, "")},
        ),
        Claim(
            f"{environment} launches nothing without its name",
            ("ec2:RunInstances",),
            _NEW_THINGS[:1],
            equal={"aws:RequestTag/Environment": ""},
        ),
    ]


def named(environment: str) -> tuple[str, ...]:
    """Patterns of every ARN that carries the environment, of every service that the project uses."""
    names = [resource_name(component, environment) for component in COMPONENTS]
    scope = f"{REGION}:{ACCOUNT}"
    return (
        *(f"arn:aws:s3:::{bucket}{rest}" for bucket in buckets(environment) for rest in ("", "/*")),
        *(f"arn:aws:secretsmanager:{scope}:secret:{name}-??????" for name in names),
        *(f"arn:aws:ssm:{scope}:parameter/{PROJECT}/{environment}{rest}" for rest in ("", "/*")),
        *(f"arn:aws:ssm:{scope}:document/{name}{rest}" for name in names for rest in ("", "-*")),
        *(f"arn:aws:logs:{scope}:log-group:/aws/lambda/{name}{rest}" for name in names for rest in ("", ":*")),
        f"arn:aws:logs:{scope}:log-group:/{PROJECT}/{environment}/*",
        *(f"arn:aws:lambda:{scope}:function:{name}{rest}" for name in names for rest in ("", ":*")),
        *(f"arn:aws:iam::{ACCOUNT}:{kind}/{name}{rest}" for kind in _IAM for name in names for rest in ("", "-*")),
        *(f"arn:aws:scheduler:{scope}:{kind}/{name}*" for kind in ("schedule", "schedule-group") for name in names),
        *(f"arn:aws:events:{scope}:rule/{name}*" for name in names),
        *(
            f"arn:aws:{service}:{scope}:{name}{rest}"
            for service in ("sns", "sqs")
            for name in names
            for rest in ("", "-*")
        ),
        *(f"arn:aws:rds:{scope}:{kind}:{name}*" for kind in ("db", "subgrp", "snapshot") for name in names),
        *(f"arn:aws:cloudwatch:{scope}:alarm:{name}*" for name in names),
        *(f"arn:aws:dynamodb:{scope}:table/{name}*" for name in names),
    )


_IAM = ("role", "policy", "instance-profile")
_UNSCOPED_ANYWHERE: Exception_ = ((*UNSCOPED, *SELF_REGISTRATION), ("*",))


def _intersect(patterns: Iterable[str], others: Iterable[str]) -> bool:
    others = [other.lower() for other in others]
    return any(overlap(pattern, other) for pattern in patterns for other in others)


def _with_absence(policy: Policy) -> Policy:
    """`…IfExists` as what it means where an absent key is an empty string: that value, or none."""
    return Policy(
        policy.name,
        [
            replace(statement, conditions=[_exists_or_equals(condition) for condition in statement.conditions])
            for statement in policy.statements
        ],
    )


def _exists_or_equals(condition: Condition) -> Condition:
    if not condition.operator.endswith("IfExists"):
        return condition
    return replace(condition, operator=condition.operator.removesuffix("IfExists"), values=[*condition.values, ""])
