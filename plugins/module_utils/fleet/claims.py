# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A claim: the tags that make an instance the server of a model, and what is believed when they disagree.

Tags are edited by hand, and a mistake must neither terminate a server nor create a second one for its model. So a
claim is redundant, and one edited tag is outvoted by the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime

MODEL = "Model"
# What the claim was made for. Nobody edits this one to say something else about the model.
CLAIM_DIGEST = "ClaimDigest"
# Written by the shutdown when it asks a host to drain, emptied by whoever starts it again.
DRAIN_ASKED = "DrainAsked"
# Written before a restart, emptied after it: one that was cut off is not mistaken for one that was done.
RESTART_BEGUN = "RestartBegun"
_CONFIRMED = " confirmed"
_PARTS = ("ModelType", "Symbol", "ModelName", "Outer", "Inner")
_MOST = 256


def drain_note(asked: datetime, *, confirmed: bool = False) -> str:
    """The value of the drain's tag. A host that confirmed its drain does not trade any more, although it runs."""
    return asked.isoformat(timespec="seconds") + (_CONFIRMED if confirmed else "")


def drain_confirmed(tags: Mapping[str, str]) -> datetime | None:
    """When the host confirmed its drain, if it did."""
    text = tags.get(DRAIN_ASKED, "")
    if not text.endswith(_CONFIRMED):
        return None
    try:
        asked = datetime.fromisoformat(text.removesuffix(_CONFIRMED))
    except ValueError:
        return None  # edited by hand
    return asked if asked.tzinfo else asked.replace(tzinfo=UTC)


def claim_digest(name: str) -> str:
    """The fingerprint of a model's name in the claim."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def host_name(prefix: str, name: str) -> str:
    """The Name tag of a model's server, which is also its name in the inventory: no two models share one.

    A slash cannot stand in it. Where a dash could be a slash or a dash, a fingerprint tells them apart.

    >>> host_name("p", "mean_rev/AAPL/x-outer_0_inner_0")
    'p-mean_rev-AAPL-x-outer_0_inner_0'
    >>> host_name("p", "mean-rev/AAPL/x-outer_0_inner_0") == host_name("p", "mean/rev-AAPL/x-outer_0_inner_0")
    False
    """
    plain = f"{prefix}-{name.replace('/', '-')}"
    path = name.split("/")
    if len(path) == 3 and not any("-" in part for part in path[:2]) and len(plain) <= _MOST:
        return plain
    mark = f"-{claim_digest(name)[:8]}"
    return plain[: _MOST - len(mark)] + mark


def parts_name(tags: Mapping[str, str]) -> str:
    """The model's name as the single parts have it; empty if one of them is missing."""
    if not all(tags.get(key) for key in _PARTS):
        return ""
    kind, symbol, model, outer, inner = (tags[key] for key in _PARTS)
    return f"{kind}/{symbol}/{model}-outer_{outer}_inner_{inner}"


def served_model(tags: Mapping[str, str]) -> str:
    """The name of the model that these tags claim the instance for; empty if none."""
    told, parts = tags.get(MODEL, ""), parts_name(tags)
    if not told or not parts or told == parts:
        return told or parts
    mark = tags.get(CLAIM_DIGEST, "")
    for name in (parts, told):
        if claim_digest(name) == mark:
            return name
    return max((parts, told), key=lambda name: _votes(name, tags))


def disagreement(tags: Mapping[str, str]) -> str:
    """How one edited tag differs from all others, as text; empty if they agree."""
    told, served = tags.get(MODEL, ""), served_model(tags)
    if not served:
        return ""
    if told != served:
        return f"its tag Model was edited by hand ({told or 'removed'}); its other tags name {served}"
    parts = parts_name(tags)
    if parts and parts != served:
        return f"the tags of its model's parts were edited by hand ({parts}); its other tags name {served}"
    return ""


def reassigned(tags: Mapping[str, str]) -> bool:
    """Whether all tags name another model than the one that the instance was claimed for, and still works for."""
    mark, served = tags.get(CLAIM_DIGEST, ""), served_model(tags)
    return bool(mark and served) and mark != claim_digest(served)


def _votes(name: str, tags: Mapping[str, str]) -> int:
    flat = re.escape(name.replace("/", "-"))
    return bool(re.search(f"{flat}(-[0-9a-f]{{8}})?$", tags.get("Name", ""))) + (name in tags.get("ModelUri", ""))
