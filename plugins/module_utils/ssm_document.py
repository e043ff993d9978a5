# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSM documents: what a document should be, and one function per API call."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils._aws import Api, meaning
from ansible_collections.algo.trading.plugins.module_utils._tags import tag_list
from ansible_collections.amazon.aws.plugins.module_utils.exceptions import AnsibleAWSError


def content_problem(content: Any) -> str | None:
    """What is wrong with a content, found before anything is called and so in check mode as well."""
    parsed = meaning(content)
    if not isinstance(parsed, dict):
        return "content must be a dictionary, or JSON that is one"
    return None if parsed.get("schemaVersion") else "content requires a schemaVersion"


def document_text(content: Any) -> str:
    """The text that is sent; readable, since operators read it in the console."""
    return json.dumps(meaning(content), indent=2)


def create_document(api: Api, name: str, document_type: str, content: Any, tags: dict[str, str]) -> str:
    """Create a document with its tags in one call, so that none is ever there without; returns its version."""
    answer = api.call(
        "create_document",
        f"create document {name}",
        Name=name,
        Content=document_text(content),
        DocumentType=document_type,
        DocumentFormat="JSON",
        Tags=tag_list(tags),
    )
    return _version(answer)


def _version(answer: dict[str, Any]) -> str:
    return str(answer["DocumentDescription"]["DocumentVersion"])


def update_content(api: Api, name: str, content: Any) -> None:
    """Add a version with this content, or take up an older one that has it, and make it the default."""
    answer = api.unless("DuplicateDocumentContent").find(
        "update_document",
        f"update document {name}",
        Name=name,
        Content=document_text(content),
        DocumentVersion="$LATEST",
        DocumentFormat="JSON",
    )
    # SSM keeps one version of each content: back to an earlier one is a change of the default.
    version = _version_with(api, name, content) if answer is None else _version(answer)
    api.call(
        "update_document_default_version",
        f"make version {version} of document {name} the default",
        Name=name,
        DocumentVersion=version,
    )


def _version_with(api: Api, name: str, content: Any) -> str:
    # SSM does not say of which version the content is a duplicate. Versions are numbered; deleted ones are skipped.
    described = api.call("describe_document", f"describe document {name}", Name=name)["Document"]
    for version in range(int(described["LatestVersion"]), 0, -1):
        found = api.find("get_document", f"read document {name}", Name=name, DocumentVersion=str(version))
        if found is not None and meaning(found["Content"]) == meaning(content):
            return str(version)
    raise AnsibleAWSError(
        message=f"SSM reports that document {name} already has this content, but none of its versions has it"
    )


def delete_document(api: Api, name: str) -> bool:
    """Delete a document with all its versions; False if it no longer exists."""
    return api.delete("delete_document", f"delete document {name}", Name=name)
