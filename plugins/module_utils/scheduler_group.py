# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Schedule groups of Amazon EventBridge Scheduler: one function per API call."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import Api
from ansible_collections.algo.trading.plugins.module_utils._schedules import schedule_view
from ansible_collections.algo.trading.plugins.module_utils._tags import tag_dict, tag_list
from ansible_collections.algo.trading.plugins.module_utils.scheduler import patience
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError


def get_group(api: Api, name: str) -> dict[str, Any] | None:
    """A schedule group with its tags as a dict, None where it does not exist."""
    group = api.find("get_schedule_group", f"read schedule group {name}", Name=name)
    if group is None:
        return None
    arn = group["Arn"]
    tags = api.find("list_tags_for_resource", f"list tags of schedule group {name}", ResourceArn=arn) or {}
    group["tags"] = tag_dict(tags.get("Tags"))
    return group


def group_view(group: dict[str, Any] | None) -> dict[str, Any]:
    """The snake_case form of a group; tag keys stay as they are."""
    if not group:
        return {}
    return {**schedule_view({key: value for key, value in group.items() if key != "tags"}), "tags": group["tags"]}


def create_group(api: Api, name: str, tags: dict[str, str]) -> None:
    """Create a schedule group."""
    api.call("create_schedule_group", f"create schedule group {name}", Name=name, Tags=tag_list(tags))


def delete_group(api: Api, name: str) -> None:
    """Ask for a schedule group's deletion, which takes its schedules along and goes on in the background."""
    api.delete("delete_schedule_group", f"delete schedule group {name}", Name=name)


def wait_for_group(api: Api, name: str, gone: bool, timeout: float) -> None:
    """Wait until a group is active, or gone."""
    for patient in patience(timeout):
        group = api.find("get_schedule_group", f"read schedule group {name}", Name=name)
        if (group is None) if gone else (group is not None and group.get("State") == "ACTIVE"):
            return
        if not patient:
            state = group.get("State") if group else "absent"
            wanted = "gone" if gone else "active"
            raise AnsibleAWSError(message=f"Schedule group {name} is not {wanted} after {timeout:g} s ({state})")
