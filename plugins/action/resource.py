# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of ``algo.trading.resource``; its documentation stands beside it in ``plugins/modules``."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import (
    TYPES,
    UNKNOWN,
    Decision,
    ResourceType,
    decide,
    desired_settings,
)
from ansible_collections.algo.trading.plugins.plugin_utils import lifeline, warm_module

display = Display()

_RETRY_SECONDS = 5


def _message(result: dict[str, Any]) -> str:
    """What a module said when it failed; one that crashed has its words in what ansible-core caught."""
    event = getattr(result.get("exception"), "event", None)
    return str(result.get("msg") or getattr(event, "msg", None) or result.get("module_stderr") or result)


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(
        {"module", "name", "settings", "state", "component", "once", "alternatives", "disable_protection"}
    )

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        lifeline.hold()
        variables = dict(task_vars or {})
        for name in ("algo_project", "algo_environment", "algo_tags", "algo_adopt", "algo_aws_connection"):
            if name in variables:
                variables[name] = self._templar.template(variables[name])
        _checks, task = self.validate_argument_spec(
            argument_spec={
                "module": {"type": "str", "required": True, "choices": sorted(TYPES)},
                "name": {"type": "str", "required": True},
                "settings": {"type": "dict", "default": {}},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "component": {"type": "str"},
                "once": {"type": "dict", "default": {}},
                "alternatives": {"type": "list", "elements": "dict", "default": []},
                "disable_protection": {"type": "bool", "default": False},
            }
        )
        if "algo_state" not in variables:
            raise AnsibleActionFail(
                f"What environment {variables.get('algo_environment')} consists of was not read before this task. "
                "Run it through site.yml or one of playbooks/*.yml, which do so first."
            )
        kind = TYPES[task["module"]]
        component = task["component"] or self._component()
        scope = Scope(variables["algo_project"], variables["algo_environment"])
        found = variables["algo_state"].get(kind.module, {}).get(task["name"])
        wanted = None
        if task["state"] == "present":
            wanted = desired_settings(
                kind, self._wanted(kind, task, scope, component, variables), found, task["alternatives"]
            )
        if kind.module in (variables.get("algo_account") or {}).get("missing", ()):
            reasons = ("this emulator has no such thing",)
            return self._answer(kind, task["name"], component, Decision("no-op", reasons))
        adopt = task["name"] in (variables.get("algo_adopt") or ())
        decision = decide(kind, wanted, found, adopt=adopt, disable_protection=task["disable_protection"])

        answer = self._answer(kind, task["name"], component, decision)
        if decision.action == "refuse":
            answer |= {
                "failed": True,
                "msg": f"{kind.title} {task['name']}: {'; '.join(decision.reasons)}. Nothing was done to it. "
                "Set it back, or remove or rename the one that exists, then run again.",
            }
        elif not decision.changes or self._task.check_mode:
            answer["resource"] = self._attributes(kind, decision, found)
        else:
            answer["resource"] = self._act(kind, task, decision, wanted, found, variables)
        return answer

    def _component(self) -> str:
        role = self._task._role
        if role is None:
            raise AnsibleActionFail("Outside of a role, `component` has to be given.")
        return str(role.get_name(include_role_fqcn=False)).removeprefix("aws_")

    @staticmethod
    def _wanted(
        kind: ResourceType, task: dict[str, Any], scope: Scope, component: str, variables: dict[str, Any]
    ) -> dict[str, Any]:
        wanted = dict(task["settings"])
        if kind.name_argument:
            wanted[kind.name_argument] = task["name"]
        if kind.tagged:
            wanted["tags"] = {
                **(variables.get("algo_tags") or {}),
                **(wanted.get("tags") or {}),
                **scope.tags(component),
                "Name": task["name"],
            }
        return wanted

    def _answer(self, kind: ResourceType, name: str, component: str, decision: Decision) -> dict[str, Any]:
        line = {
            "action": decision.action,
            "type": kind.title,
            "name": name,
            "component": component,
            "reasons": list(decision.reasons),
        }
        answer: dict[str, Any] = {
            "changed": decision.changes,
            "action": decision.action,
            "reasons": list(decision.reasons),
            "plan": [line],
            "resource": {},
        }
        if decision.changes and self._task.diff:
            header = f"{kind.title} {name}"
            answer["diff"] = {
                "before": decision.before,
                "after": decision.after,
                "before_header": header,
                "after_header": header,
            }
        return answer

    @staticmethod
    def _attributes(kind: ResourceType, decision: Decision, found: dict[str, Any] | None) -> dict[str, Any]:
        if decision.action == "delete":
            return {}
        if found is not None and found["ours"] and decision.action != "replace":
            return dict(found["attributes"])
        return dict.fromkeys(kind.computed, UNKNOWN) if decision.changes else {}

    def _act(
        self,
        kind: ResourceType,
        task: dict[str, Any],
        decision: Decision,
        wanted: dict[str, Any] | None,
        found: dict[str, Any] | None,
        variables: dict[str, Any],
    ) -> dict[str, Any]:
        if decision.action in {"delete", "replace"} and found is not None:
            named = {kind.name_argument: task["name"]} if kind.name_argument else {}
            if kind.protection and found["settings"].get(kind.protection):
                off = {**named, **kind.extra_arguments({}, found), kind.protection: False, "state": "present"}
                self._call(kind, kind.module, off, variables)
            self._call(kind, kind.module, {**named, **kind.delete_arguments(found), "state": "absent"}, variables)
            found = None
        if wanted is None:
            return {}
        first = task["once"] if found is None else {}
        if found is None and task["alternatives"]:
            arguments, result = self._make_first(kind, task, wanted, first, variables)
        else:
            arguments, result = self._make(
                kind, task, {**wanted, **first, **kind.extra_arguments(wanted, found)}, variables
            )
        made = {name: value for name, value in kind.attributes(result, arguments).items() if value is not None}
        if kind.separate_tags:
            tagging = {"arns": [made["arn"]], "tags": wanted["tags"], "purge_tags": True, "state": "present"}
            self._call(kind, "algo.trading.resource_tags", tagging, variables)
        return {**(found["attributes"] if found else {}), **made}

    def _make_first(
        self,
        kind: ResourceType,
        task: dict[str, Any],
        wanted: dict[str, Any],
        first: dict[str, Any],
        variables: dict[str, Any],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Make the thing in the first of the task's alternatives that AWS can give."""
        tried = []
        for alternative in task["alternatives"]:
            arguments = {**wanted, **alternative, **first}
            try:
                return self._make(kind, task, {**arguments, **kind.extra_arguments(arguments, None)}, variables)
            except AnsibleActionFail as error:
                code = next((part for part in kind.capacity_errors if part in str(error)), None)
                if code is None:
                    raise
                tried.append(f"{', '.join(f'{name} {value}' for name, value in alternative.items())}: {code}")
                display.display(f"… {kind.title} {task['name']}: {tried[-1]}")
        raise AnsibleActionFail(
            f"{kind.title} {task['name']} is to be had in none of the ways that the settings allow: "
            f"{'; '.join(tried)}. Nothing was made. Allow more of them, or try again later."
        )

    def _make(
        self, kind: ResourceType, task: dict[str, Any], arguments: dict[str, Any], variables: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if UNKNOWN in json.dumps(arguments, default=str):
            raise AnsibleActionFail(
                f"{kind.title} {task['name']} depends on something that was planned but not made. "
                "Run the whole site.yml."
            )
        given = {name: value for name, value in arguments.items() if name != "tags" or not kind.separate_tags}
        return arguments, self._call(kind, kind.module, {**given, "state": "present"}, variables)

    def _call(
        self, kind: ResourceType, module: str, arguments: dict[str, Any], variables: dict[str, Any]
    ) -> dict[str, Any]:
        """Run a module that makes the change, waiting out what AWS has not yet spread to all of its parts."""
        connection = dict(variables.get("algo_aws_connection") or {})
        environment = {name: str(value) for part in self._task.environment or () for name, value in part.items()}
        if not kind.takes_region:
            # Such a module finds the connection's region where every AWS tool does.
            region = connection.pop("region", "")
            environment |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        complete = {**connection, **arguments}
        self._update_module_args(module, complete, variables)
        for attempt in range(1, kind.retry_attempts + 1):
            result = warm_module.run(module, complete, environment)
            if not result.get("failed"):
                return result
            message = _message(result)
            if attempt == kind.retry_attempts or not any(part in message for part in kind.retryable_errors):
                raise AnsibleActionFail(f"{kind.title}: {message}", result={"module": module})
            display.display(f"… {kind.title}: not accepted yet, trying again ({attempt} of {kind.retry_attempts})")
            time.sleep(_RETRY_SECONDS)
        raise AssertionError("unreachable")
