# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep a module's API calls to the one resource that it was started for.

Modules find a resource by filters and change whatever the answer has. An endpoint that ignores a filter, or an
externally owned resource that matches, would be changed or removed with ours. So each answer is compared with what was
asked, and each call that writes with what it may touch, before the module sees the one or AWS the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

Reading = Callable[[Mapping[str, Any]], str | None]

# Operations that change nothing.
_READS = ("Describe", "Get", "List", "Head", "Search", "Lookup", "Simulate")
# Operations whose answer names what they have made.
_MAKES = ("Create", "Run", "Allocate")


def is_read(operation: str) -> bool:
    """Whether an operation changes nothing."""
    return operation.startswith(_READS)


class CallRefusedError(BaseException):
    """Not an Exception: no module's own handling may get past it."""


class CallGuard:
    """What the calls of one module run may touch.

    :param parameters: names of request parameters that name the resource in calls that write, singular: ``InstanceId``
        stands for ``InstanceIds`` too.
    :param allowed: values that they may have. What the module itself makes is added.
    :param allow_untagged: whether a resource without tags may be touched as well: one that an interrupted run has made
        and not tagged yet.
    """

    def __init__(self, parameters: Iterable[str], allowed: Iterable[str] = (), *, allow_untagged: bool = False) -> None:
        self._parameters = tuple(parameters)
        self._allowed = set(allowed)
        self._allow_untagged = allow_untagged

    def install(self) -> None:
        """Look at every call that botocore makes in this process from here on."""
        from botocore.client import BaseClient

        call = BaseClient._make_api_call  # type: ignore[attr-defined]  # the stubs leave it out

        def guarded(client: Any, operation: str, arguments: Mapping[str, Any]) -> Any:
            return self.watch(operation, arguments, lambda: call(client, operation, arguments))

        BaseClient._make_api_call = guarded  # type: ignore[attr-defined]  # likewise

    def watch(self, operation: str, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
        """Make a call, if it touches nothing but what it may, and give its answer, if it holds nothing else."""
        reads = is_read(operation)
        if not reads:
            self._check_request(operation, arguments)
        answer = call()
        if reads:
            self._check_answer(operation, arguments, answer)
        elif operation.startswith(_MAKES):
            self._allowed |= set(self._ids(answer))
        return answer

    def _check_request(self, operation: str, arguments: Mapping[str, Any]) -> None:
        named = [value for name in self._parameters for value in _given(arguments, name)]
        strange = sorted({value for value in named if value not in self._allowed})
        if strange:
            raise CallRefusedError(
                f"{operation} would have changed {', '.join(strange)}, which this task does not manage. The call "
                "was not made. An externally owned resource may match the settings. Remove it, or name it in "
                "algo_adopt."
            )

    def _check_answer(self, operation: str, arguments: Mapping[str, Any], answer: Any) -> None:
        conditions = list(self._conditions(arguments))
        for item in _items(answer):
            if self._allow_untagged and not item.get("Tags"):
                self._allowed |= set(self._ids(item))
            for name, read, asked in conditions:
                value = read(item)
                if value is not None and not any(fnmatchcase(value, pattern) for pattern in asked):
                    raise CallRefusedError(
                        f"{operation} was called for {name} {', '.join(asked)}, but the answer also has "
                        f"{_name(item)}. The endpoint "
                        "ignores filters, so nothing was changed. Use an endpoint that applies them."
                    )

    def _conditions(self, arguments: Mapping[str, Any]) -> Iterable[tuple[str, Reading, list[str]]]:
        """What the request asks of each item of its answer, as far as an item can tell: its name, and the values."""
        for name in self._parameters:
            if asked := _given(arguments, name):
                yield name, partial(_field, name), asked
        for entry in arguments.get("Filters") or ():
            name, asked = str(entry.get("Name")), list(entry.get("Values") or ())
            if name.startswith("tag:"):
                yield name, partial(_tag, name.removeprefix("tag:")), asked
            elif name.endswith("-id") and name != "owner-id":
                yield name, partial(_field, "".join(part.capitalize() for part in name.split("-"))), asked

    def _ids(self, value: Any) -> Iterable[str]:
        if isinstance(value, Mapping):
            for name, item in value.items():
                if name in self._parameters and isinstance(item, str):
                    yield item
                yield from self._ids(item)
        elif isinstance(value, list):
            for item in value:
                yield from self._ids(item)


def _given(arguments: Mapping[str, Any], name: str) -> list[str]:
    values = [arguments.get(name), *(arguments.get(f"{name}s") or ())]
    return [value for value in values if isinstance(value, str)]


def _items(answer: Any) -> Iterable[Mapping[str, Any]]:
    """The resources that an answer of EC2 lists; instances stand one level deeper than everything else."""
    for value in answer.values() if isinstance(answer, Mapping) else ():
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Mapping):
                yield from item["Instances"] if isinstance(item.get("Instances"), list) else (item,)


def _field(name: str, item: Mapping[str, Any]) -> str | None:
    value = item.get(name)
    return value if isinstance(value, str) else None


def _tag(key: str, item: Mapping[str, Any]) -> str | None:
    if not isinstance(item.get("Tags"), list):
        return None
    return next((str(tag.get("Value", "")) for tag in item["Tags"] if tag.get("Key") == key), "")


def _name(item: Mapping[str, Any]) -> str:
    return next((str(value) for name, value in item.items() if name.endswith("Id")), "something else")
