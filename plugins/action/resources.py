# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of ``algo.trading.resources``; its documentation stands beside it in ``plugins/modules``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.plugin_utils import afterwards, lifeline, plan, screen
from ansible_collections.algo.trading.plugins.plugin_utils.resource_act import Runner
from ansible_collections.algo.trading.plugins.plugin_utils.resource_list import ListError, ResourceList
from ansible_collections.algo.trading.plugins.plugin_utils.resource_plan import Environment, Planned
from ansible_collections.algo.trading.plugins.plugin_utils.resource_run import ResourceRun

_VARIABLES = ("algo_project", "algo_environment", "algo_tags", "algo_adopt", "algo_aws_connection")
_ARGUMENTS = {
    "resources": {"type": "list", "elements": "raw", "required": True},
    "component": {"type": "str"},
    "disable_protection": {"type": "bool", "default": False},
    "refuse": {"type": "list", "elements": "str", "default": []},
    "outputs": {"type": "str"},
    "summary": {"type": "str"},
}


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(_ARGUMENTS)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        lifeline.hold()
        variables = dict(task_vars or {})
        for name in _VARIABLES:
            if name in variables:
                variables[name] = self._templar.template(variables[name])
        # Without Ansible's tags: the lists are copied and compared many times, and a tagged string is slow to copy.
        self._task.args = plan.plain(self._task.args)
        _checks, task = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        if task["refuse"]:
            raise AnsibleActionFail("\n".join([*task["refuse"], "Nothing was changed."]))
        environment = self._environment(variables)
        check = bool(self._task.check_mode)
        try:
            resources = ResourceList(task["resources"], {"disable_protection": task["disable_protection"]})
            component = task["component"] or self._component(resources)
            run = ResourceRun(resources, component, environment, show=self._show, tell=self._tell)
            run.decide(final=check)
        except ListError as error:
            raise AnsibleActionFail(str(error)) from error
        if not check:
            run.carry_out(self._runner(variables))
        answer = self._answer(run, resources)
        if task["outputs"] and not run.failure:
            answer["outputs"] = afterwards.evaluate(self._templar, variables, task["outputs"], answer)
        return afterwards.summarized(self._templar, variables, task["summary"], answer)

    def _environment(self, variables: dict[str, Any]) -> Environment:
        account = variables.get("algo_account") or {}
        if "resources" not in account:
            raise AnsibleActionFail(
                f"The state of environment {variables.get('algo_environment')} was not read before this task. "
                "Run it through site.yml or one of playbooks/*.yml, which do so first."
            )
        return Environment(
            Scope(variables["algo_project"], variables["algo_environment"]),
            account["resources"],
            variables.get("algo_tags") or {},
            tuple(variables.get("algo_adopt") or ()),
            tuple(account.get("missing", ())),
        )

    def _component(self, resources: ResourceList) -> str:
        role = self._task._role
        if role is not None:
            return str(role.get_name(include_role_fqcn=False)).removeprefix("aws_")
        if any(not item.arguments["component"] for item in resources.items.values()):
            raise AnsibleActionFail("Set `component`: outside of a role it has no default.")
        return ""

    def _answer(self, run: ResourceRun, resources: ResourceList) -> dict[str, Any]:
        changes = run.changes
        answer: dict[str, Any] = {
            "changed": bool(changes),
            "plan": run.lines,
            "resources": resources.results(run.attributes),
        }
        if changes and self._task.diff:
            answer["diff"] = [_diff(planned) for planned in changes]
        if run.failure:
            answer |= {"failed": True, "msg": run.failure}
        return answer

    def _show(self, planned: Planned) -> bool:
        """Show a change as soon as it is made: the task may go on for long."""
        diff = plan.settings_diff(planned.decision.before, planned.decision.after) if self._task.diff else ""
        line = replace(plan.line_of(planned.line), diff=diff)
        texts = plan.line_text(line, screen.width(), type_width=screen.TYPE_WIDTH)
        screen.show(self._display, texts)
        return True

    def _tell(self, text: str) -> None:
        self._display.display(f"  … {plan.clean(text)}")

    def _runner(self, variables: dict[str, Any]) -> Runner:
        environment = {name: str(value) for part in self._task.environment or () for name, value in part.items()}

        def complete(module: str, arguments: dict[str, Any]) -> None:
            self._update_module_args(module, arguments, variables)

        return Runner(variables.get("algo_aws_connection") or {}, environment, complete)


def _diff(planned: Planned) -> dict[str, Any]:
    header = f"{planned.kind.title} {planned.name}"
    return {
        "before": planned.decision.before,
        "after": planned.decision.after,
        "before_header": header,
        "after_header": header,
    }
