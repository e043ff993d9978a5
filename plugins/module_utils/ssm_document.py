# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSM documents: what a document should be, and one function per API call."""

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


class AnsibleDocumentError(AnsibleAWSError):
    """What the functions here raise; the module turns it into fail_json."""


class DocumentErrorHandler(AWSErrorHandler):
    """Name the action in plain words when a call fails."""

    _CUSTOM_EXCEPTION = AnsibleDocumentError

    @classmethod
    def _is_missing(cls) -> type[Exception]:
        missing: type[Exception] = is_boto3_error_code(
            ["InvalidDocument", "InvalidDocumentVersion", "InvalidResourceId"]
        )
        return missing


# --- deciding -------------------------------------------------------------------------------------------------------


def content_problem(content: Any) -> str | None:
    """What is wrong with a content, found before anything is called and so in check mode as well."""
    parsed = meaning(content)
    if not isinstance(parsed, dict):
        return "content must be a dictionary, or JSON that is one"
    return None if parsed.get("schemaVersion") else "content requires a schemaVersion"


def document_text(content: Any) -> str:
    """The text that is sent; readable, since operators read it in the console."""
    return json.dumps(meaning(content), indent=2)


# --- calling --------------------------------------------------------------------------------------------------------


def _call(client: Any, method: str, doing: str, **arguments: Any) -> dict[str, Any]:
    call = DocumentErrorHandler.common_error_handler(doing)(getattr(client, method))
    response: dict[str, Any] = call(aws_retry=True, **arguments)
    return response


def _get_or_none(client: Any, method: str, doing: str, **arguments: Any) -> dict[str, Any] | None:
    call = DocumentErrorHandler.list_error_handler(doing)(getattr(client, method))
    response: dict[str, Any] | None = call(aws_retry=True, **arguments)
    return response


def get_document(client: Any, name: str) -> dict[str, Any] | None:
    """A document in its default version with its tags as a dict, None where it does not exist."""
    document = _get_or_none(client, "get_document", f"read document {name}", Name=name)
    if document is None:
        return None
    listed = _get_or_none(
        client,
        "list_tags_for_resource",
        f"list tags of document {name}",
        ResourceType="Document",
        ResourceId=name,
    )
    document.pop("ResponseMetadata", None)
    document["tags"] = boto3_tag_list_to_ansible_dict((listed or {}).get("TagList") or [])
    return document


def create_document(client: Any, name: str, document_type: str, content: Any, tags: dict[str, str]) -> str:
    """Create a document with its tags in one call, so that none is ever there without; returns its version."""
    answer = _call(
        client,
        "create_document",
        f"create document {name}",
        Name=name,
        Content=document_text(content),
        DocumentType=document_type,
        DocumentFormat="JSON",
        Tags=ansible_dict_to_boto3_tag_list(tags),
    )
    return str(answer["DocumentDescription"]["DocumentVersion"])


def update_content(client: Any, name: str, content: Any) -> None:
    """Add a version with this content, or take up an older one that has it, and make it the default."""
    try:
        answer = _call(
            client,
            "update_document",
            f"update document {name}",
            Name=name,
            Content=document_text(content),
            DocumentVersion="$LATEST",
            DocumentFormat="JSON",
        )
        version = str(answer["DocumentDescription"]["DocumentVersion"])
    except AnsibleDocumentError as error:
        code = getattr(error.exception, "response", {}).get("Error", {}).get("Code")
        if code != "DuplicateDocumentContent":
            raise
        # SSM keeps one version of each content: back to an earlier one is a change of the default.
        version = _version_with(client, name, content)
    _call(
        client,
        "update_document_default_version",
        f"make version {version} of document {name} the default",
        Name=name,
        DocumentVersion=version,
    )


def _version_with(client: Any, name: str, content: Any) -> str:
    # SSM does not say of which version the content is a duplicate. Versions are numbered; deleted ones are skipped.
    described = _call(client, "describe_document", f"describe document {name}", Name=name)["Document"]
    for version in range(int(described["LatestVersion"]), 0, -1):
        found = _get_or_none(client, "get_document", f"read document {name}", Name=name, DocumentVersion=str(version))
        if found is not None and meaning(found["Content"]) == meaning(content):
            return str(version)
    raise AnsibleDocumentError(
        message=f"SSM reports that document {name} already has this content, but none of its versions has it"
    )


def tag_document(client: Any, name: str, set_tags: dict[str, str], remove_keys: list[str]) -> None:
    """Set and remove tags of a document."""
    which = {"ResourceType": "Document", "ResourceId": name}
    if remove_keys:
        doing = f"remove tags from document {name}"
        _call(client, "remove_tags_from_resource", doing, TagKeys=remove_keys, **which)
    if set_tags:
        tag_list = ansible_dict_to_boto3_tag_list(set_tags)
        _call(client, "add_tags_to_resource", f"tag document {name}", Tags=tag_list, **which)


def delete_document(client: Any, name: str) -> bool:
    """Delete a document with all its versions; False if it no longer exists."""
    delete = DocumentErrorHandler.deletion_error_handler(f"delete document {name}")
    return bool(delete(client.delete_document)(aws_retry=True, Name=name))
