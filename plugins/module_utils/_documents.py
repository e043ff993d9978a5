# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An SSM document: reading it, and what users see of it."""

from __future__ import annotations

from typing import Any

from ._aws import Api, meaning
from ._tags import tag_dict

MISSING = ("InvalidDocument", "InvalidDocumentVersion", "InvalidResourceId")


def find_document(api: Api, name: str) -> dict[str, Any] | None:
    """A document in its default version with its tags as a dict, None where it does not exist."""
    document = api.find("get_document", f"read document {name}", Name=name)
    if document is None:
        return None
    which = {"ResourceType": "Document", "ResourceId": name}
    listed = api.find("list_tags_for_resource", f"list tags of document {name}", **which)
    return None if listed is None else {**document, "tags": tag_dict(listed.get("TagList"))}


def document_view(document: dict[str, Any] | None) -> dict[str, Any]:
    """What users see of a document, in results and in diffs; empty for none."""
    if document is None:
        return {}
    return {
        "name": document["Name"],
        "document_type": document["DocumentType"],
        "document_version": str(document["DocumentVersion"]),
        "content": meaning(document["Content"]),
        "tags": document["tags"],
    }
