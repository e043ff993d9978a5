# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CloudWatch dashboards: what a body says, and one function per API call."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import meaning
from ansible_collections.amazon.aws.plugins.module_utils.botocore import is_boto3_error_code
from ansible_collections.amazon.aws.plugins.module_utils.errors import AWSErrorHandler
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)


class AnsibleDashboardError(AnsibleAWSError):
    """What the functions here raise; the module turns it into fail_json."""


class DashboardErrorHandler(AWSErrorHandler):
    """Name the action in plain words when a call fails."""

    _CUSTOM_EXCEPTION = AnsibleDashboardError

    @classmethod
    def _is_missing(cls) -> type[Exception]:
        missing: type[Exception] = is_boto3_error_code(["ResourceNotFound", "ResourceNotFoundException"])
        return missing


# --- deciding -------------------------------------------------------------------------------------------------------


def body_problem(body: Any) -> str | None:
    """What is wrong with a body, found before anything is called and so in check mode as well."""
    parsed = meaning(body)
    if not isinstance(parsed, dict):
        return "body must be a dictionary, or JSON that is one"
    return None if isinstance(parsed.get("widgets"), list) else "body requires a list of widgets"


# --- calling --------------------------------------------------------------------------------------------------------


def _call(client: Any, method: str, doing: str, **arguments: Any) -> dict[str, Any]:
    call = DashboardErrorHandler.common_error_handler(doing)(getattr(client, method))
    response: dict[str, Any] = call(aws_retry=True, **arguments)
    return response


def _get_or_none(client: Any, method: str, doing: str, **arguments: Any) -> dict[str, Any] | None:
    call = DashboardErrorHandler.list_error_handler(doing)(getattr(client, method))
    response: dict[str, Any] | None = call(aws_retry=True, **arguments)
    return response


def get_dashboard(client: Any, name: str) -> dict[str, Any] | None:
    """A dashboard with its tags as a dict, None where it does not exist."""
    found = _get_or_none(client, "get_dashboard", f"read dashboard {name}", DashboardName=name)
    if found is None:
        return None
    doing = f"list tags of dashboard {name}"
    listed = _get_or_none(client, "list_tags_for_resource", doing, ResourceARN=found["DashboardArn"]) or {}
    return {**found, "tags": boto3_tag_list_to_ansible_dict(listed.get("Tags") or [])}


def put_dashboard(client: Any, name: str, body: Any, tags: dict[str, str]) -> list[str]:
    """Create a dashboard with its tags in one call, so that none is ever there without, or replace the body of one.

    :return: what CloudWatch does not understand of it, and leaves out.
    """
    answer = _call(
        client,
        "put_dashboard",
        f"write dashboard {name}",
        DashboardName=name,
        DashboardBody=json.dumps(meaning(body)),
        **({"Tags": ansible_dict_to_boto3_tag_list(tags)} if tags else {}),
    )
    return [
        f"{message.get('DataPath', '')}: {message.get('Message', '')}"
        for message in answer.get("DashboardValidationMessages") or []
    ]


def tag_dashboard(client: Any, arn: str, set_tags: dict[str, str], remove_keys: list[str]) -> None:
    """Set and remove tags of a dashboard."""
    if remove_keys:
        _call(client, "untag_resource", f"remove tags from {arn}", ResourceARN=arn, TagKeys=remove_keys)
    if set_tags:
        tag_list = ansible_dict_to_boto3_tag_list(set_tags)
        _call(client, "tag_resource", f"tag {arn}", ResourceARN=arn, Tags=tag_list)


def delete_dashboard(client: Any, name: str) -> bool:
    """Delete a dashboard; False if it no longer exists."""
    delete = DashboardErrorHandler.deletion_error_handler(f"delete dashboard {name}")
    return bool(delete(client.delete_dashboards)(aws_retry=True, DashboardNames=[name]))
