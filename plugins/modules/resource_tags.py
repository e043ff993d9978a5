#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: resource_tags
version_added: 0.1.0
short_description: Tag AWS resources by their ARNs, whatever service they belong to
description:
  - Sets and removes tags through the Resource Groups Tagging API, so that one module serves the many services whose own
    modules cannot tag. Alarms are tagged by CloudWatch itself.
  - Up to 20 resources share a call. A resource that AWS does not tag fails the task with the reason AWS gives for it.
author:
  - The algo.trading authors (@algo-trading)
options:
  arns:
    description: ARNs of the resources, all in the connection's region.
    type: list
    elements: str
    required: true
  tags:
    description:
      - Tags to be set, or with O(state=absent) to be removed. There, an empty value matches any.
    type: dict
    required: true
    aliases: [resource_tags]
  state:
    description: Whether the resources should have these tags.
    type: str
    choices: [present, absent]
    default: present
  purge_tags:
    description:
      - Whether other tags are removed. Those that start with C(aws:) are AWS's own and stay.
    type: bool
    default: false
  untagged:
    description:
      - Whether the resources have just been made, so that they have no tags. They are not asked for them then.
    type: bool
    default: false
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Shows the tags before and after.
    support: full
notes:
  - Needs C(tag:GetResources), C(tag:TagResources) and C(tag:UntagResources), and the service's own permission to tag.
  - The API shows a resource only once it has had a tag, and a little late. What it does not show counts as untagged.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Tag an alarm
  algo.trading.resource_tags:
    arns: [arn:aws:cloudwatch:us-east-1:123456789012:alarm:algo-trading-trading-server-shutdown-qa-errors]
    tags:
      Project: algo-trading
      Environment: qa

- name: Leave an alarm with these tags and no others
  algo.trading.resource_tags:
    arns: ['{{ alarm.alarm_arn }}']
    tags: {Project: algo-trading}
    purge_tags: true

- name: Take a tag off, whatever its value
  algo.trading.resource_tags:
    arns: ['{{ alarm.alarm_arn }}']
    tags: {Owner: ''}
    state: absent
"""

RETURN = r"""
resources:
  description: ARN to the tags of the resource, in check mode as they would be.
  returned: success
  type: dict
  sample:
    'arn:aws:cloudwatch:us-east-1:123456789012:alarm:algo-trading-trading-server-shutdown-qa-errors':
      Environment: qa
      Project: algo-trading
"""

import contextlib
from collections.abc import Iterator
from typing import Any

with contextlib.suppress(ImportError):  # AnsibleAWSModule says what is missing
    from botocore.exceptions import BotoCoreError, ClientError

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import boto3_tag_list_to_ansible_dict, compare_aws_tags

# The API's own limits.
_READ = 100
_WRITE = 20

Tags = dict[str, str]


class TaggingError(Exception):
    """AWS took the call and refused some of its resources."""


def chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def changes(current: Tags, tags: Tags, state: str, purge: bool) -> tuple[Tags, list[str]]:
    """What to set and what to remove on a resource that has ``current``."""
    if state == "present":
        to_set, to_remove = compare_aws_tags(current, tags, purge_tags=purge)
        return to_set, sorted(to_remove)
    return {}, sorted(key for key, value in tags.items() if key in current and value in ("", None, current[key]))


class AlarmTags:
    """CloudWatch's own tagging calls, shaped like the tagging API's: they need its permissions alone."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_resources(self, ResourceARNList: list[str], aws_retry: bool) -> dict[str, Any]:
        found = []
        for arn in ResourceARNList:
            answer = self._client.list_tags_for_resource(ResourceARN=arn, aws_retry=aws_retry)
            found.append({"ResourceARN": arn, "Tags": answer["Tags"]})
        return {"ResourceTagMappingList": found}

    # A parameter named like its own type would send ansible-test's pylint checker round for ever.
    def tag_resources(self, ResourceARNList: list[str], Tags: dict[str, str], aws_retry: bool) -> dict[str, Any]:
        pairs = [{"Key": key, "Value": value} for key, value in Tags.items()]
        for arn in ResourceARNList:
            self._client.tag_resource(ResourceARN=arn, Tags=pairs, aws_retry=aws_retry)
        return {}

    def untag_resources(self, ResourceARNList: list[str], TagKeys: list[str], aws_retry: bool) -> dict[str, Any]:
        for arn in ResourceARNList:
            self._client.untag_resource(ResourceARN=arn, TagKeys=TagKeys, aws_retry=aws_retry)
        return {}


def read_tags(client: Any, arns: list[str]) -> dict[str, Tags]:
    found: dict[str, Tags] = {arn: {} for arn in arns}
    for some in chunks(arns, _READ):
        answer = client.get_resources(ResourceARNList=some, aws_retry=True)
        for resource in answer["ResourceTagMappingList"]:
            found[resource["ResourceARN"]] = boto3_tag_list_to_ansible_dict(resource["Tags"])
    return found


def _refused(answer: dict[str, Any]) -> None:
    failed = answer.get("FailedResourcesMap") or {}
    if failed:
        raise TaggingError("; ".join(f"{arn}: {why.get('ErrorMessage')}" for arn, why in sorted(failed.items())))


def set_tags(client: Any, arns: list[str], tags: Tags) -> None:
    for some in chunks(arns, _WRITE):
        _refused(client.tag_resources(ResourceARNList=some, Tags=tags, aws_retry=True))


def remove_tags(client: Any, arns: list[str], keys: list[str]) -> None:
    for some in chunks(arns, _WRITE):
        _refused(client.untag_resources(ResourceARNList=some, TagKeys=keys, aws_retry=True))


def ensure(client: Any, params: dict[str, Any], check_mode: bool) -> tuple[dict[str, Tags], dict[str, Tags]]:
    """Make it so. Return the tags before and after."""
    arns = list(dict.fromkeys(params["arns"]))
    tags = {key: "" if value is None else str(value) for key, value in params["tags"].items()}
    before: dict[str, Tags] = {arn: {} for arn in arns} if params["untagged"] else read_tags(client, arns)
    after = {}
    setting: dict[tuple[tuple[str, str], ...], list[str]] = {}
    removing: dict[tuple[str, ...], list[str]] = {}
    for arn, current in before.items():
        to_set, to_remove = changes(current, tags, params["state"], params["purge_tags"])
        after[arn] = {key: value for key, value in current.items() if key not in to_remove} | to_set
        if to_set:
            setting.setdefault(tuple(sorted(to_set.items())), []).append(arn)
        if to_remove:
            removing.setdefault(tuple(to_remove), []).append(arn)
    if not check_mode:
        for pairs, some in setting.items():
            set_tags(client, some, dict(pairs))
        for keys, some in removing.items():
            remove_tags(client, some, list(keys))
    return before, after


def main() -> None:
    """Read the options, make it so, report."""
    module = AnsibleAWSModule(
        argument_spec={
            "arns": {"type": "list", "elements": "str", "required": True},
            "tags": {"type": "dict", "required": True, "aliases": ["resource_tags"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge_tags": {"type": "bool", "default": False},
            "untagged": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    alarms = all(arn.split(":")[2:3] == ["cloudwatch"] for arn in module.params["arns"])
    service = "cloudwatch" if alarms else "resourcegroupstaggingapi"
    client = module.client(service, retry_decorator=AWSRetry.jittered_backoff())
    client = AlarmTags(client) if alarms else client
    try:
        before, after = ensure(client, module.params, module.check_mode)
    except TaggingError as error:
        module.fail_json(msg=f"Some resources could not be tagged: {error}")
    except (BotoCoreError, ClientError) as error:
        module.fail_json_aws(error, msg=f"Could not tag {', '.join(module.params['arns'])}")
    result: dict[str, Any] = {"changed": before != after, "resources": after}
    if before != after:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
