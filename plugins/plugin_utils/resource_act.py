# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out a decision by the Ansible modules that manage the resource, kept to that one resource.

What is done is a generator: it hands over each call of a module and each pause, and whoever drives it may do something
else meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.module_utils.resources import UNKNOWN, Settings
from ansible_collections.algo.trading.plugins.plugin_utils import run_record
from ansible_collections.algo.trading.plugins.plugin_utils.call_guard import CallGuard
from ansible_collections.algo.trading.plugins.plugin_utils.resource_plan import Planned
from ansible_collections.algo.trading.plugins.plugin_utils.side_by_side import Pause
from ansible_collections.algo.trading.plugins.plugin_utils.warm_module import Call

display = Display()

_RETRY_SECONDS = 5

# Calls and pauses, answers to the calls, and what others refer to in the end.
Acting = Generator[Call | Pause, Any, Settings]
Calling = Generator[Call | Pause, Any, tuple[Settings, Settings]]


@dataclass(frozen=True)
class Runner:
    """How modules are run.

    :param connection: the arguments that every module gets.
    :param environment: variables that every module's process gets.
    :param complete: adds to a module's arguments what Ansible itself passes.
    """

    connection: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    complete: Callable[[str, dict[str, Any]], None] = lambda module, arguments: None


def act(planned: Planned, runner: Runner) -> Acting:
    """Carry out the decision and return what others refer to."""
    run_record.note(planned.kind.module)
    kind, found, desired = planned.kind, planned.found, planned.desired
    if planned.decision.action in {"delete", "replace"} and found is not None:
        named = {kind.name_argument: planned.name} if kind.name_argument else {}
        if kind.protection and found["settings"].get(kind.protection):
            off = {**named, **kind.extra_arguments({}, found), kind.protection: False, "state": "present"}
            yield from _call(planned, runner, kind.module, off, found)
        gone = {**named, **kind.delete_arguments(found), "state": "absent"}
        yield from _call(planned, runner, kind.module, gone, found)
        found = None
    if desired is None:
        return {}
    if found is None and planned.alternatives:
        arguments, result = yield from _make_first(planned, runner, desired)
    else:
        given = {**desired, **planned.once} if found is None else _with_left(desired, found, planned.decision.left)
        given = {**given, **kind.extra_arguments(given, found)}
        arguments, result = yield from _make(planned, runner, given, found)
    made = {name: value for name, value in kind.attributes(result, arguments).items() if value is not None}
    if kind.separate_tags:
        tagging = {"arns": [made["arn"]], "tags": desired["tags"], "purge_tags": True, "untagged": found is None}
        yield from _call(planned, runner, "algo.trading.resource_tags", tagging, found)
    return {**(found["attributes"] if found else {}), **made}


def _with_left(desired: Settings, found: Mapping[str, Any], left: frozenset[str]) -> Settings:
    """Arguments with the present values of those that stay as they are; lists of dicts are in a shape of our own."""
    given = dict(desired)
    for name in left:
        actual = found["settings"].get(name)
        parts = actual if isinstance(actual, list) else [actual]
        if actual is not None and all(isinstance(part, str | int) for part in parts):
            given[name] = actual
        else:
            given.pop(name, None)
    return given


def _make_first(planned: Planned, runner: Runner, desired: Settings) -> Calling:
    """Make the resource by the first of its alternatives that AWS has capacity for."""
    kind, tried = planned.kind, []
    for alternative in planned.alternatives:
        arguments = {**desired, **alternative, **planned.once}
        try:
            complete = {**arguments, **kind.extra_arguments(arguments, None)}
            return (yield from _make(planned, runner, complete, None))
        except AnsibleActionFail as error:
            code = next((part for part in kind.capacity_errors if part in str(error)), None)
            if code is None:
                raise
            tried.append(f"{', '.join(f'{name} {value}' for name, value in alternative.items())}: {code}")
            display.display(f"… {kind.title} {planned.name}: {tried[-1]}")
    raise AnsibleActionFail(
        f"{kind.title} {planned.name}: no capacity in any allowed instance type or subnet: {'; '.join(tried)}. "
        "Nothing was created. Allow more of them, or run again later."
    )


def _make(planned: Planned, runner: Runner, arguments: Settings, found: Mapping[str, Any] | None) -> Calling:
    kind = planned.kind
    if UNKNOWN in json.dumps(arguments, default=str):
        raise AnsibleActionFail(
            f"{kind.title} {planned.name} depends on a resource that is planned but not created. Run site.yml."
        )
    given = {name: value for name, value in arguments.items() if name != "tags" or not kind.separate_tags}
    result = yield from _call(planned, runner, kind.module, {**given, "state": "present"}, found)
    return arguments, result


def _call(
    planned: Planned, runner: Runner, module: str, arguments: Settings, found: Mapping[str, Any] | None
) -> Acting:
    """Run a module that makes the change, waiting out what AWS has not yet spread to all of its parts."""
    kind, connection, environment = planned.kind, dict(runner.connection), dict(runner.environment)
    if not kind.takes_region:
        # Such a module finds the connection's region where every AWS tool does.
        region = connection.pop("region", "")
        environment |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
    complete = {**connection, **arguments}
    runner.complete(module, complete)
    absent = kind.absent if planned.decision.action == "create" and module == kind.module else {}
    for attempt in range(1, kind.retry_attempts + 1):
        guard = _guard(planned, found)
        result: Settings = yield Call(module, complete, environment, guard, read_once=True, absent=absent)
        # It may have been made by an attempt that failed later.
        absent = {}
        if not result.get("failed"):
            return result
        message = _message(result)
        if attempt == kind.retry_attempts or not any(part in message for part in kind.retryable_errors):
            raise AnsibleActionFail(f"{kind.title} {planned.name}: {message}", result={"module": module})
        told = f"not accepted yet, retrying ({attempt} of {kind.retry_attempts})"
        display.display(f"… {kind.title} {planned.name}: {told}")
        yield Pause(_RETRY_SECONDS)
    raise AssertionError("unreachable")


def _guard(planned: Planned, found: Mapping[str, Any] | None) -> CallGuard | None:
    """What the module's calls may touch: what was found, or what they make themselves."""
    kind = planned.kind
    if not kind.write_ids:
        return None
    known = [value for value in (found or {}).get("attributes", {}).values() if isinstance(value, str)]
    return CallGuard(kind.write_ids, [planned.name, *known], allow_untagged=kind.tagged_later and found is None)


def _message(result: Settings) -> str:
    """What a module said when it failed; one that crashed has its words in what ansible-core caught."""
    event = getattr(result.get("exception"), "event", None)
    return str(result.get("msg") or getattr(event, "msg", None) or result.get("module_stderr") or result)
