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
  - amazon.aws.tags.modules
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

from ansible_collections.algo.trading.plugins.module_utils._aws import Api, meaning
from ansible_collections.algo.trading.plugins.module_utils._documents import MISSING, document_view, find_document
from ansible_collections.algo.trading.plugins.module_utils.aws_module import (
    TAG_OPTIONS,
    Outcome,
    change_tags,
    run_module,
    tag_change,
)
from ansible_collections.algo.trading.plugins.module_utils.ssm_document import (
    content_problem,
    create_document,
    delete_document,
    update_content,
)
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError

TYPES = ["Automation", "Command", "Policy", "Session"]
TAG_METHODS = ("remove_tags_from_resource", "add_tags_to_resource")


def ensure_absent(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    before = document_view(find_document(api, params["name"]))
    if not before:
        return Outcome(False, {}, {})
    return Outcome(check_mode or delete_document(api, params["name"]), before, {})


def ensure_present(api: Api, params: dict[str, Any], check_mode: bool) -> Outcome:
    name, kind = params["name"], params["document_type"]
    before = document_view(find_document(api, name))
    if not before and params["content"] is None:
        raise AnsibleAWSError(message=f"Document {name} cannot be created without content")
    if before and before["document_type"] != kind:
        raise AnsibleAWSError(
            message=f"Document {name} is a {before['document_type']} document, which cannot become a {kind} document; "
            "delete it first"
        )
    content = meaning(params["content"]) if params["content"] is not None else before["content"]
    tags = tag_change(before.get("tags", {}), params)
    new_content = content != before.get("content")
    if before and not new_content and not tags.changed:
        return Outcome(False, before, before)
    after = {**before, "name": name, "document_type": kind, "content": content, "tags": tags.after}
    if new_content:
        after.pop("document_version", None)
    if check_mode:
        return Outcome(True, before, after)
    if not before:
        # It is as it was asked for; only its version is SSM's.
        version = create_document(api, name, kind, content, tags.to_set)
        return Outcome(True, before, {**after, "document_version": version})
    if new_content:
        update_content(api, name, content)
    change_tags(api, f"document {name}", tags, methods=TAG_METHODS, ResourceType="Document", ResourceId=name)
    return Outcome(True, before, document_view(find_document(api, name)) or after)


def main() -> None:
    run_module(
        service="ssm",
        missing=MISSING,
        result="document",
        options={
            "content": {"type": "raw"},
            "document_type": {"type": "str", "choices": TYPES, "default": "Command"},
            **TAG_OPTIONS,
        },
        problem=lambda params: None if params["content"] is None else content_problem(params["content"]),
        present=ensure_present,
        absent=ensure_absent,
    )


if __name__ == "__main__":
    main()
