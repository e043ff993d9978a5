# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Policy documents in a form in which equal meaning is equal value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def by_sid(document: Any) -> Any:
    """A policy document as a dict by statement id: order means nothing, and a difference names its statement.

    A document in which not every statement has an id of its own is left as it is.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("Statement"), list):
        return document
    statements = {statement.get("Sid"): statement for statement in document["Statement"]}
    if len(statements) != len(document["Statement"]) or None in statements:
        return document
    rest = {name: value for name, value in document.items() if name != "Statement"}
    return {**rest, **{sid: {**statement, "Sid": sid} for sid, statement in statements.items()}}


def normalize_policy(policy: Any) -> Any:
    """A resource policy in one shape: by statement id, lists of one as their element, other lists sorted."""
    if isinstance(policy, str):
        policy = json.loads(policy) if policy.strip() else {}
    return _plain(by_sid(policy))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return _plain(value[0]) if len(value) == 1 else sorted((_plain(item) for item in value), key=str)
    return value
