# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""References in a list of resources: ``${vpc.id}``, ``${subnet.0.id}``, ``${subnet.*.id}``, and ``${each.cidr}``.

A string that is one reference becomes the value that it refers to, one to all resources in a list becomes items of that
list; inside a longer string, the value becomes text.
``$${`` gives ``${``. What has a colon or a slash between the braces is nobody's reference: IAM's policy variables have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EACH = "each"
_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}:/]*)\}")
_EACH = re.compile(r"\$\$\{|\$\{(each(?:\.\w+)*)\}")
_SEVERAL = re.compile(r"\$\{[\w.]+\.\*\.\w+\}")
_NAME = re.compile(r"[A-Za-z_]\w*(\.(\w+|\*))*")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")


class BadReferenceError(ValueError):
    """A reference that leads nowhere."""


@dataclass(frozen=True)
class Reference:
    """``id``, which of its resources (a number, ``*`` for all, None where there is one), and the attribute."""

    id: str
    place: str | None
    attribute: str

    @classmethod
    def parse(cls, text: str) -> Reference:
        parts = text.split(".")
        if not _NAME.fullmatch(text) or len(parts) not in {2, 3}:
            raise BadReferenceError(
                f"${{{text}}} is not a reference. Write ${{id.attribute}}, or $${{ where the text itself has ${{."
            )
        place = parts[1] if len(parts) == 3 else None
        if place is not None and not (place == "*" or place.isdigit()):
            raise BadReferenceError(f"${{{text}}}: {place} must be a number or *.")
        return cls(parts[0], place, parts[-1])

    def __str__(self) -> str:
        return f"${{{'.'.join(part for part in (self.id, self.place, self.attribute) if part is not None)}}}"


def is_identifier(text: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(text)) and text != EACH


def found_in(value: Any) -> Iterator[Reference]:
    """The references in a value, however deep.

    :raises BadReferenceError: where the text between the braces is no reference.
    """
    if isinstance(value, Mapping):
        for item in value.values():
            yield from found_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from found_in(item)
    elif isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            if match[1] is not None:
                yield Reference.parse(match[1].strip())


def fill_in(value: Any, resolve: Callable[[Reference], Any]) -> Any:
    """A copy of a value with what its references refer to."""
    return _replaced(value, _REFERENCE, lambda text: resolve(Reference.parse(text.strip())), unescape=True)


def fill_in_each(value: Any, each: Any, place: int) -> Any:
    """A copy of a value with one item of ``for_each`` in place of ``${each}`` and ``${each.name}``.

    :param place: its place in the list, for ``${each.index}`` where the item has no such name itself.
    """

    def resolve(text: str) -> Any:
        found = each
        for name in text.split(".")[1:]:
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif found is each and name == "index":
                found = place
            else:
                known = ", ".join(sorted(map(str, found))) if isinstance(found, Mapping) else "no names"
                raise BadReferenceError(f"${{{text}}}: the item of for_each has {known}.")
        return found

    return _replaced(value, _EACH, resolve, unescape=False)


def _replaced(value: Any, pattern: re.Pattern[str], resolve: Callable[[str], Any], *, unescape: bool) -> Any:
    if isinstance(value, Mapping):
        return {name: _replaced(item, pattern, resolve, unescape=unescape) for name, item in value.items()}
    if isinstance(value, list | tuple):
        replaced: list[Any] = []
        for item in value:
            new = _replaced(item, pattern, resolve, unescape=unescape)
            # Several values in a list are several of its items.
            replaced += new if isinstance(item, str) and _SEVERAL.fullmatch(item) else [new]
        return replaced
    if not isinstance(value, str) or "${" not in value:
        return value
    whole = pattern.fullmatch(value)
    if whole and whole[1] is not None:
        return resolve(whole[1])

    def text(match: re.Match[str]) -> str:
        if match[1] is None:
            return "${" if unescape else match[0]
        return str(resolve(match[1]))

    return pattern.sub(text, value)
