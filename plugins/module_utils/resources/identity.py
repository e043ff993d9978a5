# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""IAM roles, their inline policies and instance profiles, as amazon.aws manages them.

IAM cannot search by tag, and listing an account's roles costs pages and tells no tags: they are read by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .._aws import pages, read_each, unless_missing
from .._components import HOSTS
from .._naming import Scope, identities
from .._policies import by_sid
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings

_MISSING = "NoSuchEntity"


def role_names(scope: Scope) -> list[str]:
    """Every role that an environment can have: of hosts, of functions, and of the schedules that invoke these."""
    return [identity["name"] for identity in identities(scope.project, scope.environment)]


def _normalize(argument: str) -> Callable[[Settings], Settings]:
    def normalize(arguments: Settings) -> Settings:
        return {name: by_sid(value) if name == argument else value for name, value in arguments.items()}

    return normalize


# ---- role ----


def _read_roles(clients: Any, scope: Scope) -> Iterable[Found]:
    iam = clients("iam")

    def read(name: str) -> list[Found]:
        answer = unless_missing(iam.get_role, _MISSING, RoleName=name)
        if answer is None:
            return []
        role = answer["Role"]
        attached = pages(iam, "list_attached_role_policies", "AttachedPolicies", RoleName=name)
        tags = tag_dict(role.get("Tags"))
        settings = {
            "name": name,
            "description": role.get("Description", ""),
            "assume_role_policy_document": by_sid(role["AssumeRolePolicyDocument"]),
            "boundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
            "managed_policies": [policy["PolicyArn"] for policy in attached],
            "tags": tags,
        }
        return [Found(name, settings, {"arn": role["Arn"]}, tags)]

    return read_each(read, role_names(scope))


def _role_extra(arguments: Settings, found: Mapping[str, Any] | None) -> Settings:
    # The module takes an empty boundary for "remove it", and hands it to AWS when it makes a role. For no policies it
    # would look which ones a new role has.
    new = found is None
    without = {name: None for name in ("boundary", "managed_policies") if new and not arguments.get(name)}
    return {**_NO_PROFILES, **without}


# The module's own handling of profiles leaves them untagged, and is deprecated.
_NO_PROFILES: Settings = {"create_instance_profile": False, "delete_instance_profile": False}

ROLE = ResourceType(
    module="amazon.aws.iam_role",
    absent={"GetRole": "NoSuchEntity"},
    service="iam",
    title="IAM role",
    read=_read_roles,
    compared=frozenset({"name", "description", "assume_role_policy_document", "boundary", "managed_policies", "tags"}),
    unordered=frozenset({"managed_policies"}),
    normalize=_normalize("assume_role_policy_document"),
    extra_arguments=_role_extra,
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": (result.get("iam_role") or {}).get("arn")},
    delete_arguments=lambda found: dict(_NO_PROFILES),
    destroy_order=58,
)


# ---- inline policy ----


def policy_key(role: str, policy: str) -> str:
    """What a role's policy is called: like the role, of which each has one; anybody else's is told apart."""
    return role if policy == role else f"{role}/{policy}"


def _read_policies(clients: Any, scope: Scope) -> Iterable[Found]:
    iam = clients("iam")

    def read(role: str) -> list[Found]:
        listed = unless_missing(lambda: list(pages(iam, "list_role_policies", "PolicyNames", RoleName=role)), _MISSING)
        found = []
        for policy in listed or ():
            answer = unless_missing(iam.get_role_policy, _MISSING, RoleName=role, PolicyName=policy)
            if answer is not None:
                settings = {
                    "iam_type": "role",
                    "iam_name": role,
                    "policy_name": policy,
                    "policy_json": by_sid(answer["PolicyDocument"]),
                }
                found.append(Found(policy_key(role, policy), settings, owner=role))
        return found

    return read_each(read, role_names(scope))


POLICY = ResourceType(
    module="amazon.aws.iam_policy",
    absent={"ListRolePolicies": {"PolicyNames": [], "IsTruncated": False}},
    service="iam",
    title="IAM policy",
    read=_read_policies,
    compared=frozenset({"iam_type", "iam_name", "policy_name", "policy_json"}),
    tagged=False,
    name_argument=None,
    normalize=_normalize("policy_json"),
    computed=(),
    delete_arguments=lambda found: {name: found["settings"][name] for name in ("iam_type", "iam_name", "policy_name")},
    destroy_order=57,
)


# ---- instance profile ----


def _read_instance_profiles(clients: Any, scope: Scope) -> Iterable[Found]:
    iam = clients("iam")

    def read(name: str) -> list[Found]:
        answer = unless_missing(iam.get_instance_profile, _MISSING, InstanceProfileName=name)
        if answer is None:
            return []
        profile = answer["InstanceProfile"]
        tags = tag_dict(profile.get("Tags"))
        roles = [role["RoleName"] for role in profile.get("Roles", ())]
        settings = {"name": name, "role": roles[0] if roles else "", "tags": tags}
        return [Found(name, settings, {"arn": profile["Arn"]}, tags)]

    return read_each(read, map(scope.name, HOSTS))


INSTANCE_PROFILE = ResourceType(
    module="amazon.aws.iam_instance_profile",
    absent={"GetInstanceProfile": "NoSuchEntity"},
    service="iam",
    title="instance profile",
    read=_read_instance_profiles,
    compared=frozenset({"name", "role", "tags"}),
    computed=("arn",),
    attributes=lambda result, arguments: {"arn": (result.get("iam_instance_profile") or {}).get("arn")},
    destroy_order=56,
)

TYPES = (ROLE, POLICY, INSTANCE_PROFILE)
