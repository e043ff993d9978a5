# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The decision about one resource. Pure: check mode and a real run get the same result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._model import Decision, ResourceType, Settings

# Arguments that every module understands and that say nothing about the resource.
STEERING = frozenset({"state", "wait", "wait_timeout", "purge_tags", "force", "apply_immediately"})
_LONG = 120


def desired_settings(
    kind: ResourceType,
    desired: Settings,
    found: Mapping[str, Any] | None,
    alternatives: Sequence[Settings] = (),
    adopt: bool = False,
) -> Settings:
    """Desired settings with AWS-managed values filled in: the alternative that the resource was made from, and values
    that AWS updates by itself. For a new resource, the first alternative."""
    if found is None or not (found["ours"] or adopt):
        return {**desired, **(alternatives[0] if alternatives else {})}
    found = {**found, "adopted": adopt}
    for alternative in alternatives:
        described = describe(kind, {**desired, **alternative})
        names = [name for name in alternative if name in described]
        if not _differences(kind, {name: described[name] for name in names}, found["settings"]):
            return kind.diff_suppress({**desired, **alternative}, found)
    return kind.diff_suppress({**desired, **(alternatives[0] if alternatives else {})}, found)


def decide(
    kind: ResourceType,
    desired: Settings | None,
    found: Mapping[str, Any] | None,
    adopt: bool = False,
    disable_protection: bool = False,
) -> Decision:
    """Compare the desired settings (the module's arguments, tags included; None for absent) with what was found.

    ``adopt`` allows adopting an externally owned resource. It never removes or replaces one: as long as it
    is set, changes that need a new resource are listed and not made. ``disable_protection``
    turns a resource's deletion protection off before it is deleted.
    """
    if desired is None:
        return _decide_absent(kind, found, disable_protection)
    after = describe(kind, desired)
    if found is None:
        return Decision("create", ("does not exist",), after=after)
    if not found["ours"] and not adopt:
        return Decision("refuse", (_foreign(found),))
    deletion = found.get("pending_deletion")
    if deletion and not kind.restorable:
        return Decision("refuse", (f"it is {deletion}; wait until it is gone",))
    actual = found["settings"]
    different = _differences(kind, after, actual)
    left = different & kind.force_new if adopt else set()
    kept = tuple(
        f"{_reason(kind, name, actual.get(name), after[name])} requires a new {kind.title}; not changed while "
        "algo_adopt names it"
        for name in sorted(left)
    )
    different -= left
    if not different and not deletion:
        return Decision("no-op", kept or ("is up to date",))
    before = {name: actual.get(name) for name in different}
    after = {name: after[name] for name in different}
    reasons = (*(_reason(kind, name, before[name], after[name]) for name in sorted(different)), *kept)
    if deletion:
        reasons = (f"is {deletion}, and is restored", *reasons)
    if not found["ours"]:
        reasons = ("is adopted (algo_adopt)", *reasons)
    state = str(found["attributes"].get("state") or "").lower()
    if kind.states and state in kind.states.stopped:
        how = kind.states.start.format(name=found["attributes"].get("id"))
        return Decision("refuse", (*reasons, f"it is {state}, and AWS cannot change a {state} {kind.title}: {how}"))
    immutable = sorted(different & kind.force_new)
    if not immutable:
        return Decision("update", reasons, before, after, left=frozenset(left))
    if kind.replaceable and kind.protection and actual.get(kind.protection):
        if after.get(kind.protection) is False:
            off = _reason(kind, kind.protection, True, False)
            rest = f"{', '.join(immutable)} changes in the next run, when its protection is off"
            return Decision("update", (off, rest), {kind.protection: True}, {kind.protection: False})
        guarded = f"replacement required, but {kind.protection} forbids it"
        return Decision("refuse", (*reasons, guarded), before, after)
    if kind.replaceable:
        return Decision("replace", reasons, before, after)
    return Decision(
        "refuse", (*reasons, f"AWS cannot change {', '.join(immutable)} of an existing {kind.title}"), before, after
    )


def describe(kind: ResourceType, desired: Settings) -> Settings:
    """The arguments that describe the resource, in the shape that a reading of the account gives."""
    ignored = STEERING | kind.steering | kind.create_only
    described = {name: value for name, value in desired.items() if name not in ignored and value is not None}
    return kind.normalize(described)


def _differences(kind: ResourceType, after: Settings, actual: Mapping[str, Any]) -> set[str]:
    return {name for name in after if _canonical(kind, name, after[name]) != _canonical(kind, name, actual.get(name))}


def _decide_absent(kind: ResourceType, found: Mapping[str, Any] | None, disable_protection: bool) -> Decision:
    if found is None:
        return Decision("no-op", ("does not exist",))
    if not found["ours"]:
        return Decision("no-op", ("is externally owned",))
    if found.get("pending_deletion"):
        return Decision("no-op", (f"is {found['pending_deletion']} already",))
    if kind.protection and found["settings"].get(kind.protection):
        if not disable_protection:
            return Decision("refuse", (f"{kind.protection} forbids its deletion; turn it off first",))
        reasons = ("is no longer in the settings", f"{kind.protection} is turned off first")
        return Decision("delete", reasons, before=found["settings"])
    return Decision("delete", ("is no longer in the settings",), before=found["settings"])


def _foreign(found: Mapping[str, Any]) -> str:
    tags = found.get("tags") or {}
    if found.get("note"):
        return f"exists, but {found['note']}"
    seen = ", ".join(f"{name}={value}" for name, value in sorted(tags.items())) or "none"
    return f"exists, but does not carry this environment's tags (it has: {seen})"


def _canonical(kind: ResourceType, name: str, value: Any) -> str:
    if name in kind.unordered and isinstance(value, list):
        value = sorted(value, key=lambda item: json.dumps(item, sort_keys=True, default=str))
    return json.dumps(value, sort_keys=True, default=str)


def _reason(kind: ResourceType, name: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        return "; ".join(f"{name}.{key}: {_short(before.get(key))} → {_short(after.get(key))}" for key in keys)
    if isinstance(before, list) and isinstance(after, list):
        gone = [item for item in before if item not in after]
        new = [item for item in after if item not in before]
        if gone or new:
            parts = [f"-{_short(item)}" for item in gone] + [f"+{_short(item)}" for item in new]
            return f"{name}: {' '.join(parts)}"
    return f"{name}: {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    if value is None:
        return "unset"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"
