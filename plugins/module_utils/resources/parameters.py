# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSM parameters, as community.aws manages them, and SSM documents, which no other collection does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._aws import Api, meaning, pages, read_each, unless_missing
from .._documents import MISSING, document_view, find_document
from .._naming import Scope
from .._tags import tag_dict
from ._model import Found, ResourceType, Settings, States

# ---- parameter ----


def _read_parameters(clients: Any, scope: Scope) -> Iterable[Found]:
    ssm = clients("ssm")
    path = scope.parameter()
    values = {
        parameter["Name"]: parameter
        for parameter in pages(
            ssm, "get_parameters_by_path", "Parameters", Path=path, Recursive=True, WithDecryption=False
        )
    }
    if not values:
        return

    def read(described: dict[str, Any]) -> list[Found]:
        name = described["Name"]
        which = {"ResourceType": "Parameter", "ResourceId": name}
        listed = unless_missing(ssm.list_tags_for_resource, "InvalidResourceId", **which)
        if listed is None:
            return []
        tags = tag_dict(listed.get("TagList"))
        settings = {
            "name": name,
            "string_type": described["Type"],
            "description": described.get("Description", ""),
            "tier": described.get("Tier", "Standard"),
            "tags": tags,
        }
        if described["Type"] != "SecureString":
            settings["value"] = meaning(values[name]["Value"])
        attributes = {"arn": values[name].get("ARN"), "version": values[name].get("Version")}
        return [Found(name, settings, attributes, tags)]

    filters = [{"Key": "Path", "Option": "Recursive", "Values": [path]}]
    parameters = pages(ssm, "describe_parameters", "Parameters", ParameterFilters=filters)
    # The lock is no part of what it protects: a removal holds it until the end.
    yield from read_each(read, [one for one in parameters if one["Name"] in values and one["Name"] != scope.lock])


def _normalize_parameter(arguments: Settings) -> Settings:
    described = {name: meaning(value) if name == "value" else value for name, value in arguments.items()}
    if described.get("string_type") == "SecureString":
        described.pop("value", None)
    if described.get("tier") == "Intelligent-Tiering":
        described.pop("tier")  # AWS chooses by the value's length and tells what it chose
    return described


PARAMETER = ResourceType(
    module="community.aws.ssm_parameter",
    service="ssm",
    title="SSM parameter",
    read=_read_parameters,
    compared=frozenset({"name", "string_type", "description", "tier", "value", "tags"}),
    create_only=frozenset({"key_id"}),
    steering=frozenset({"overwrite_value", "decryption"}),
    normalize=_normalize_parameter,
    computed=(),
    destroy_order=36,
)


# ---- document ----


def document_names(scope: Scope) -> list[str]:
    return [scope.name("trading_server", what) for what in ("drain", "status")]


def _read_documents(clients: Any, scope: Scope) -> Iterable[Found]:
    api = Api(clients("ssm"), *MISSING)

    def read(name: str) -> list[Found]:
        found = find_document(api, name)
        if found is None:
            return []
        settings = document_view(found)
        attributes = {"name": name, "version": settings.pop("document_version"), "state": found.get("Status")}
        return [Found(name, settings, attributes, settings["tags"])]

    return read_each(read, document_names(scope))


DOCUMENT = ResourceType(
    module="algo.trading.ssm_document",
    absent={"GetDocument": "InvalidDocument"},
    service="ssm",
    title="SSM document",
    read=_read_documents,
    compared=frozenset({"name", "document_type", "content", "tags"}),
    states=States(healthy=frozenset({"active"}), transitional=frozenset({"creating", "updating", "deleting"})),
    force_new=frozenset({"document_type"}),
    replaceable=True,
    normalize=lambda arguments: {
        name: meaning(value) if name == "content" else value for name, value in arguments.items()
    },
    computed=("version",),
    attributes=lambda result, arguments: {"version": (result.get("document") or {}).get("document_version")},
    destroy_order=34,
)

TYPES = (PARAMETER, DOCUMENT)
