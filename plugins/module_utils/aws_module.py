# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules for one AWS resource have in common: options, calls, tags, and how a result is reported.

Such a module gives `run_module` its options and two functions, which make the resource present or absent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ansible_collections.algo.trading.plugins.module_utils._aws import Api
from ansible_collections.amazon.aws.plugins.module_utils.errors import AWSErrorHandler
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    compare_aws_tags,
)

TAG_OPTIONS: dict[str, Any] = {
    "tags": {"type": "dict", "aliases": ["resource_tags"]},
    "purge_tags": {"type": "bool", "default": True},
}


class Outcome(NamedTuple):
    """What an `Ensure` did, or would do in check mode."""

    changed: bool
    before: dict[str, Any]
    after: dict[str, Any]
    warnings: tuple[str, ...] = ()


# Calls, options, check mode -> what was done
Ensure = Callable[[Api, dict[str, Any], bool], Outcome]


class ModuleApi(Api):
    """Calls that are retried where they are throttled, and raise `AnsibleAWSError` with what was tried."""

    def _make(self, doing: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return AWSErrorHandler.common_error_handler(doing)(call)(aws_retry=True, **arguments)


class TagChange(NamedTuple):
    """What becomes of a resource's tags."""

    after: dict[str, Any]
    to_set: dict[str, Any]
    to_remove: list[str]

    @property
    def changed(self) -> bool:
        return bool(self.to_set or self.to_remove)


def tag_change(current: dict[str, str], params: dict[str, Any]) -> TagChange:
    """What the options ``tags`` and ``purge_tags`` make of the current tags; without ``tags`` they stay."""
    if params["tags"] is None:
        return TagChange(current, {}, [])
    to_set, to_remove = compare_aws_tags(current, params["tags"], params["purge_tags"])
    kept = {key: value for key, value in current.items() if key not in to_remove}
    return TagChange(kept | to_set, to_set, to_remove)


def change_tags(
    api: Api, what: str, tags: TagChange, *, methods: tuple[str, str] = ("untag_resource", "tag_resource"), **which: str
) -> None:
    """Remove and set tags of ``what``, which the service knows by the arguments ``which``."""
    untag, tag = methods
    if tags.to_remove:
        api.call(untag, f"remove tags from {what}", TagKeys=tags.to_remove, **which)
    if tags.to_set:
        api.call(tag, f"tag {what}", Tags=ansible_dict_to_boto3_tag_list(tags.to_set), **which)


def run_module(
    service: str,
    missing: tuple[str, ...],
    result: str,
    options: dict[str, Any],
    problem: Callable[[dict[str, Any]], str | None],
    present: Ensure,
    absent: Ensure,
) -> None:
    """Read the options, make it so, report.

    :param missing: the codes by which the service says that a resource is not there.
    :param result: name of the resource in the result.
    :param problem: what is wrong with the options, found before anything is called and so in check mode as well.
    """
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **options,
        },
        supports_check_mode=True,
    )
    wrong = problem(module.params)
    if wrong:
        module.fail_json(msg=wrong)
    api = ModuleApi(module.client(service, retry_decorator=AWSRetry.jittered_backoff()), *missing)
    ensure = present if module.params["state"] == "present" else absent
    try:
        done = ensure(api, module.params, module.check_mode)
    except AnsibleAWSError as error:
        module.fail_json_aws_error(error)
    for message in done.warnings:
        module.warn(message)
    answer: dict[str, Any] = {"changed": done.changed, result: done.after}
    if done.changed:
        answer["diff"] = {"before": done.before, "after": done.after}
    module.exit_json(**answer)
