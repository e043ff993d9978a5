# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What EC2's resources of an environment are found by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._aws import pages
from .._naming import Scope
from .._tags import tag_dict
from ._model import Settings


def filters(scope: Scope) -> list[Settings]:
    """The environment's tags, as a condition of a call."""
    return [
        {"Name": "tag:Project", "Values": [scope.project]},
        {"Name": "tag:Environment", "Values": [scope.environment]},
    ]


def tagged(clients: Any, scope: Scope, operation: str, result: str) -> Iterable[tuple[Settings, dict[str, str]]]:
    """Our resources of one EC2 kind, with their tags; what has no Name was not made by us.

    The answer is looked at once more: not every endpoint applies filters.
    """
    for item in pages(clients("ec2"), operation, result, Filters=filters(scope)):
        tags = tag_dict(item.get("Tags"))
        if "Name" in tags and scope.names(tags):
            yield item, tags
