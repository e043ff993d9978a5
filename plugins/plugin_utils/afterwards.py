# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task hands on when its work is done, from a variable whose templates see the task's result.

A task of its own for that, ``ansible.builtin.set_stats`` or ``set_fact``, costs a process and some
hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.template import Templar
from ansible_collections.algo.trading.plugins.plugin_utils import plan

# The variable's templates know the task's result by this name.
RESULT = "result"


def evaluate(templar: Templar, variables: Mapping[str, Any], name: str, result: Mapping[str, Any]) -> Any:
    """The value of a variable, whose templates may use ``result``.

    :raises AnsibleActionFail: where there is no such variable.
    """
    if name not in variables:
        raise AnsibleActionFail(f"There is no variable {name}. Give the name of a variable, without braces.")
    known = {**variables, RESULT: dict(result)}
    return plan.plain(templar.copy_with_new_env(available_variables=known).template(variables[name]))


def summarized(templar: Templar, variables: Mapping[str, Any], name: str, result: dict[str, Any]) -> dict[str, Any]:
    """The result, with the summary that a variable makes of it for the end of the run; as it is without a name or where
    the task failed."""
    if not name or result.get("failed"):
        return result
    summary = evaluate(templar, variables, name, result)
    # As ansible.builtin.set_stats returns it.
    return {**result, "ansible_stats": {"data": {"summary": summary}, "per_host": False, "aggregate": True}}
