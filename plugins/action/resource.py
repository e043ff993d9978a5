# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's side of ``algo.trading.resource``; its documentation stands beside it in ``plugins/modules``."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.plugin_utils import lifeline
from ansible_collections.algo.trading.plugins.plugin_utils.resource_act import Runner, act
from ansible_collections.algo.trading.plugins.plugin_utils.resource_plan import SPEC, Environment, Planned, plan

_VARIABLES = ("algo_project", "algo_environment", "algo_tags", "algo_adopt", "algo_aws_connection")


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_diff = True
    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(SPEC)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        lifeline.hold()
        variables = dict(task_vars or {})
        for name in _VARIABLES:
            if name in variables:
                variables[name] = self._templar.template(variables[name])
        _checks, task = self.validate_argument_spec(argument_spec=SPEC)
        if "algo_state" not in variables:
            raise AnsibleActionFail(
                f"The state of environment {variables.get('algo_environment')} was not read before this task. "
                "Run it through site.yml or one of playbooks/*.yml, which do so first."
            )
        environment = Environment(
            Scope(variables["algo_project"], variables["algo_environment"]),
            variables["algo_state"],
            variables.get("algo_tags") or {},
            tuple(variables.get("algo_adopt") or ()),
            tuple((variables.get("algo_account") or {}).get("missing", ())),
        )
        planned = plan(task, task["component"] or self._component(), environment)
        answer = self._answer(planned)
        decision = planned.decision
        if decision.action == "refuse":
            answer |= {
                "failed": True,
                "msg": f"{planned.kind.title} {planned.name}: {'; '.join(decision.reasons)}. It was not changed. "
                "Set it back, or remove or rename the one that exists, then run again.",
            }
        elif not decision.changes or self._task.check_mode:
            answer["resource"] = planned.attributes
        else:
            answer["resource"] = act(planned, self._runner(variables))
        return answer

    def _component(self) -> str:
        role = self._task._role
        if role is None:
            raise AnsibleActionFail("Set `component`: outside of a role it has no default.")
        return str(role.get_name(include_role_fqcn=False)).removeprefix("aws_")

    def _answer(self, planned: Planned) -> dict[str, Any]:
        decision = planned.decision
        answer: dict[str, Any] = {
            "changed": decision.changes,
            "action": decision.action,
            "reasons": list(decision.reasons),
            "plan": [planned.line],
            "resource": {},
        }
        if decision.changes and self._task.diff:
            header = f"{planned.kind.title} {planned.name}"
            answer["diff"] = {
                "before": decision.before,
                "after": decision.after,
                "before_header": header,
                "after_header": header,
            }
        return answer

    def _runner(self, variables: dict[str, Any]) -> Runner:
        environment = {name: str(value) for part in self._task.environment or () for name, value in part.items()}

        def complete(module: str, arguments: dict[str, Any]) -> None:
            self._update_module_args(module, arguments, variables)

        return Runner(variables.get("algo_aws_connection") or {}, environment, complete)
