# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedule groups of Amazon EventBridge Scheduler: one function per API call."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._schedules import schedule_view
from ansible_collections.algo.trading.plugins.module_utils.scheduler import (
    AnsibleSchedulerError,
    SchedulerErrorHandler,
    call_api,
    get_or_none,
    patience,
)
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)


def get_group(client: Any, name: str) -> dict[str, Any] | None:
    """A schedule group with its tags as a dict, None where it does not exist."""
    group = get_or_none(client, "get_schedule_group", f"read schedule group {name}", Name=name)
    if group is None:
        return None
    arn = group["Arn"]
    tags = get_or_none(client, "list_tags_for_resource", f"list tags of schedule group {name}", ResourceArn=arn) or {}
    group["tags"] = boto3_tag_list_to_ansible_dict(tags.get("Tags"))
    return group


def group_view(group: dict[str, Any] | None) -> dict[str, Any]:
    """The snake_case form of a group; tag keys stay as they are."""
    if not group:
        return {}
    return {**schedule_view({key: value for key, value in group.items() if key != "tags"}), "tags": group["tags"]}


def create_group(client: Any, name: str, tags: dict[str, str]) -> None:
    """Create a schedule group."""
    tag_list = ansible_dict_to_boto3_tag_list(tags)
    call_api(client, "create_schedule_group", f"create schedule group {name}", Name=name, Tags=tag_list)


def tag_group(client: Any, arn: str, set_tags: dict[str, str], remove_keys: list[str]) -> None:
    """Set and remove tags of a schedule group."""
    if remove_keys:
        call_api(client, "untag_resource", f"remove tags from {arn}", ResourceArn=arn, TagKeys=remove_keys)
    if set_tags:
        tag_list = ansible_dict_to_boto3_tag_list(set_tags)
        call_api(client, "tag_resource", f"tag {arn}", ResourceArn=arn, Tags=tag_list)


def delete_group(client: Any, name: str) -> None:
    """Ask for a schedule group's deletion, which takes its schedules along and goes on in the background."""
    delete = SchedulerErrorHandler.deletion_error_handler(f"delete schedule group {name}")
    delete(client.delete_schedule_group)(aws_retry=True, Name=name)


def wait_for_group(client: Any, name: str, gone: bool, timeout: float) -> None:
    """Wait until a group is active, or gone."""
    for patient in patience(timeout):
        group = get_or_none(client, "get_schedule_group", f"read schedule group {name}", Name=name)
        if (group is None) if gone else (group is not None and group.get("State") == "ACTIVE"):
            return
        if not patient:
            state = group.get("State") if group else "absent"
            wanted = "gone" if gone else "active"
            raise AnsibleSchedulerError(message=f"Schedule group {name} is not {wanted} after {timeout:g} s ({state})")
