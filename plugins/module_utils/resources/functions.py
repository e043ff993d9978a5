# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lambda functions, as amazon.aws manages them. Code is compared by the digest that Lambda itself reports."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._aws import Api, pages, read_each, unless_missing
from .._components import FUNCTIONS
from .._naming import NEW_MODELS, Scope, arn
from ..lambda_event_invoke import MISSING, find_invocation
from ._model import Found, ResourceType, Settings, States
from .messaging import queue_urls

# Lambda takes a function's resources back when nobody has called it for weeks, and gives them back at the next call.
_STATES = States(healthy=frozenset({"active", "inactive"}), transitional=frozenset({"pending", "updating", "deleting"}))


def code_sha256(zip_file: str) -> str:
    """A package's digest in the form in which Lambda reports it."""
    return base64.b64encode(hashlib.sha256(Path(zip_file).read_bytes()).digest()).decode()


def _normalize(arguments: Settings) -> Settings:
    """Arguments with the package replaced by its digest: where the package was built says nothing about it."""
    described = {name: value for name, value in arguments.items() if name != "zip_file"}
    if "zip_file" in arguments:
        described["code_sha256"] = code_sha256(arguments["zip_file"])
    if "environment_variables" in arguments:
        described["environment_variables"] = {
            name: str(value) for name, value in arguments["environment_variables"].items()
        }
    return described


def _read_functions(clients: Any, scope: Scope) -> Iterable[Found]:
    def read(name: str) -> list[Found]:
        answer = unless_missing(clients("lambda").get_function, "ResourceNotFoundException", FunctionName=name)
        if answer is None:
            return []
        configuration, tags = answer["Configuration"], dict(answer.get("Tags") or {})
        network = configuration.get("VpcConfig") or {}
        settings = {
            "name": name,
            "description": configuration.get("Description", ""),
            "runtime": configuration.get("Runtime"),
            "handler": configuration.get("Handler"),
            "role": configuration["Role"],
            "timeout": configuration["Timeout"],
            "memory_size": configuration["MemorySize"],
            "architecture": (configuration.get("Architectures") or ["x86_64"])[0],
            "environment_variables": (configuration.get("Environment") or {}).get("Variables") or {},
            "dead_letter_arn": (configuration.get("DeadLetterConfig") or {}).get("TargetArn", ""),
            "tracing_mode": (configuration.get("TracingConfig") or {}).get("Mode", "PassThrough"),
            "vpc_subnet_ids": network.get("SubnetIds") or [],
            "vpc_security_group_ids": network.get("SecurityGroupIds") or [],
            "kms_key_arn": configuration.get("KMSKeyArn", ""),
            "code_sha256": configuration["CodeSha256"],
            "tags": tags,
        }
        attributes = {"arn": configuration["FunctionArn"], "state": _state(configuration)}
        return [Found(name, settings, attributes, tags)]

    # By name: a listing of the account's functions would tell neither tags nor less in fewer calls.
    return read_each(read, map(scope.name, FUNCTIONS))


def _state(configuration: Settings) -> str | None:
    """A function has two states, its own and its last update's; the worse one counts."""
    state, update = configuration.get("State"), configuration.get("LastUpdateStatus")
    if update in {"Failed", "InProgress"} and state in {"Active", "Inactive", None}:
        return "update failed" if update == "Failed" else "updating"
    return state


FUNCTION = ResourceType(
    module="amazon.aws.lambda",
    absent={"GetFunction": "ResourceNotFoundException"},
    service="lambda",
    title="Lambda function",
    read=_read_functions,
    compared=frozenset(
        {
            "name",
            "description",
            "runtime",
            "handler",
            "role",
            "timeout",
            "memory_size",
            "architecture",
            "environment_variables",
            "dead_letter_arn",
            "tracing_mode",
            "vpc_subnet_ids",
            "vpc_security_group_ids",
            "kms_key_arn",
            "zip_file",
            "tags",
        }
    ),
    states=_STATES,
    normalize=_normalize,
    unordered=frozenset({"vpc_subnet_ids", "vpc_security_group_ids"}),
    computed=("arn",),
    # The module answers with the version that it published; others refer to the function.
    attributes=lambda result, arguments: {
        "arn": ":".join(str((result.get("configuration") or {}).get("function_arn", "")).split(":")[:7]) or None
    },
    # A role that was made a moment ago, or its policy, is not yet known everywhere.
    retryable_errors=(
        "cannot be assumed by Lambda",
        "execution role does not have permissions",
        "KMSAccessDenied",
        "ResourceConflictException",
    ),
    destroy_order=16,
)


# ---- asynchronous invocation ----


def _read_invocations(clients: Any, scope: Scope) -> Iterable[Found]:
    api = Api(clients("lambda"), *MISSING)

    def read(name: str) -> list[Found]:
        settings = find_invocation(api, name)
        return [Found(name, {"name": name, **settings}, owner=name)] if settings else []

    return read_each(read, map(scope.name, FUNCTIONS))


INVOCATION = ResourceType(
    module="algo.trading.lambda_event_invoke_config",
    absent={"GetFunctionEventInvokeConfig": "ResourceNotFoundException"},
    service="lambda",
    title="asynchronous invocation",
    read=_read_invocations,
    compared=frozenset({"name", "maximum_retry_attempts", "maximum_event_age_in_seconds", "on_failure", "on_success"}),
    tagged=False,
    computed=(),
    retryable_errors=(
        "execution role does not have permissions",
        "execution role doesn't have permissions",
        "ResourceConflict",
    ),
    destroy_order=15,
)

# ---- event source ----


def _read_event_sources(reading: Any, scope: Scope) -> Iterable[Found]:
    queue = scope.name("trading_server", NEW_MODELS)
    url = queue_urls(reading, scope).get(queue)
    if url is None:  # then nothing reads it, and no call is made
        return
    source = arn("sqs", queue, region=scope.region, account=url.split("/")[-2])
    for mapping in pages(reading("lambda"), "list_event_source_mappings", "EventSourceMappings", EventSourceArn=source):
        state = str(mapping.get("State") or "")
        settings = {
            "lambda_function_arn": mapping["FunctionArn"],
            "event_source": "sqs",
            "source_params": {
                "source_arn": mapping["EventSourceArn"],
                "enabled": state not in ("Disabled", "Disabling"),
                "batch_size": mapping.get("BatchSize"),
                "maximum_batching_window_in_seconds": mapping.get("MaximumBatchingWindowInSeconds") or 0,
            },
        }
        deletion = "being deleted" if state == "Deleting" else ""
        yield Found(queue, settings, {"id": mapping["UUID"]}, owner=queue, pending_deletion=deletion)


EVENT_SOURCE = ResourceType(
    module="amazon.aws.lambda_event",
    service="lambda",
    title="event source of a function",
    read=_read_event_sources,
    compared=frozenset({"lambda_function_arn", "event_source", "source_params"}),
    tagged=False,
    name_argument=None,
    # The module does not change all of it.
    force_new=frozenset({"lambda_function_arn", "event_source", "source_params"}),
    replaceable=True,
    computed=(),
    delete_arguments=lambda found: dict(found["settings"]),
    # A role's policy that was made a moment ago is not yet known everywhere; one that goes is in the way for a while.
    retryable_errors=("does not have permissions", "ResourceConflict", "ResourceInUse"),
    destroy_order=11,
)

TYPES = (FUNCTION, INVOCATION, EVENT_SOURCE)
