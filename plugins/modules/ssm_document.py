#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssm_document
version_added: 0.1.0
short_description: Manage a document of AWS Systems Manager
description:
  - Creates, updates and deletes a document of AWS Systems Manager, such as the command that may be sent to hosts.
  - Content is compared by its meaning with the default version, the one that callers get. A changed content becomes a
    new version and the default; a content that an older version has makes that one the default again.
author:
  - The algo.trading authors (@algo-trading)
options:
  name:
    description: Name of the document.
    type: str
    required: true
  state:
    description: Whether the document should exist. Its versions go with it.
    type: str
    choices: [present, absent]
    default: present
  content:
    description: The document, as a dictionary or as JSON. Required to create one.
    type: raw
  document_type:
    description: What kind of document it is. Cannot be changed.
    type: str
    choices: [Automation, Command, Policy, Session]
    default: Command
  tags:
    description: Tags of the document. Left as they are where not given.
    type: dict
    aliases: [resource_tags]
  purge_tags:
    description: Whether tags that are not in O(tags) are removed.
    type: bool
    default: true
attributes:
  check_mode:
    description: Reads only.
    support: full
  diff_mode:
    description: Shows content and tags before and after.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Let one command, and no other, be sent to the trading servers
  algo.trading.ssm_document:
    name: algo-trading-trading-server-qa-drain
    content:
      schemaVersion: '2.2'
      description: Drain the trading server
      mainSteps:
        - name: drain
          action: aws:runShellScript
          inputs:
            runCommand: [systemctl stop trading-server.service]
    tags:
      Project: algo-trading
      Environment: qa

- name: Remove it
  algo.trading.ssm_document:
    name: algo-trading-trading-server-qa-drain
    state: absent
"""

RETURN = r"""
document:
  description: The document in its default version, in check mode as it would be. Empty where there is none.
  returned: always
  type: dict
  contains:
    name:
      description: Name of the document.
      returned: when the document exists
      type: str
      sample: algo-trading-trading-server-qa-drain
    document_type:
      description: What kind of document it is.
      returned: when the document exists
      type: str
      sample: Command
    document_version:
      description: The default version. Missing in check mode where it would change.
      returned: when the document exists
      type: str
      sample: '1'
    content:
      description: The content, as what its JSON says.
      returned: when the document exists
      type: dict
      sample: {schemaVersion: '2.2', mainSteps: []}
    tags:
      description: Tags of the document.
      returned: when the document exists
      type: dict
      sample: {Environment: qa, Project: algo-trading}
"""

from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import meaning
from ansible_collections.algo.trading.plugins.module_utils.ssm_document import (
    AnsibleDocumentError,
    content_problem,
    create_document,
    delete_document,
    get_document,
    tag_document,
    update_content,
)
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.amazon.aws.plugins.module_utils.tagging import compare_aws_tags

Outcome = tuple[bool, dict[str, Any], dict[str, Any]]


def view(document: dict[str, Any] | None) -> dict[str, Any]:
    """What users see of a document, in results and in diffs."""
    if document is None:
        return {}
    return {
        "name": document["Name"],
        "document_type": document["DocumentType"],
        "document_version": str(document["DocumentVersion"]),
        "content": meaning(document["Content"]),
        "tags": document["tags"],
    }


def ensure_absent(client: Any, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Return changed, before and after."""
    before = view(get_document(client, params["name"]))
    if not before:
        return False, {}, {}
    return check_mode or delete_document(client, params["name"]), before, {}


def ensure_present(client: Any, params: dict[str, Any], check_mode: bool) -> Outcome:
    """Return changed, before and after."""
    name, kind = params["name"], params["document_type"]
    before = view(get_document(client, name))
    if not before and params["content"] is None:
        raise AnsibleDocumentError(message=f"Document {name} cannot be created without content")
    if before and before["document_type"] != kind:
        raise AnsibleDocumentError(
            message=f"Document {name} is a {before['document_type']} document, which cannot become a {kind} document; "
            "delete it first"
        )
    content = meaning(params["content"]) if params["content"] is not None else before["content"]
    old_tags = before.get("tags", {})
    tags = params["tags"] if params["tags"] is not None else old_tags
    set_tags, remove_keys = compare_aws_tags(old_tags, tags, params["purge_tags"] and params["tags"] is not None)
    new_content = content != before.get("content")
    if before and not new_content and not set_tags and not remove_keys:
        return False, before, before
    after = {
        **before,
        "name": name,
        "document_type": kind,
        "content": content,
        "tags": {key: value for key, value in old_tags.items() if key not in remove_keys} | set_tags,
    }
    if new_content:
        after.pop("document_version", None)
    if check_mode:
        return True, before, after
    if not before:
        # It is as it was asked for; only its version is SSM's.
        return True, before, {**after, "document_version": create_document(client, name, kind, content, set_tags)}
    if new_content:
        update_content(client, name, content)
    tag_document(client, name, set_tags, remove_keys)
    return True, before, view(get_document(client, name)) or after


def main() -> None:
    """Read the options, make it so, report."""
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "content": {"type": "raw"},
            "document_type": {
                "type": "str",
                "choices": ["Automation", "Command", "Policy", "Session"],
                "default": "Command",
            },
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    problem = content_problem(module.params["content"]) if module.params["content"] is not None else None
    if problem:
        module.fail_json(msg=problem)
    client = module.client("ssm", retry_decorator=AWSRetry.jittered_backoff())
    ensure = ensure_present if module.params["state"] == "present" else ensure_absent
    try:
        changed, before, after = ensure(client, module.params, module.check_mode)
    except AnsibleDocumentError as error:
        module.fail_json_aws_error(error)
    result: dict[str, Any] = {"changed": changed, "document": after}
    if changed:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
