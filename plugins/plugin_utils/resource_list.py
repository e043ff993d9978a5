# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a task's list of resources to single ones and what each depends on. Refuses a wrong list as a whole. Pure."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES, Settings
from ansible_collections.algo.trading.plugins.plugin_utils import references
from ansible_collections.algo.trading.plugins.plugin_utils.references import BadReferenceError, Reference
from ansible_collections.algo.trading.plugins.plugin_utils.resource_plan import SPEC

# What an entry says besides what one resource is.
_STEERING = ("id", "when", "for_each", "needs", "after")
_LISTS = ("for_each", "needs", "after")
# Every resource has these, without being asked.
_ALWAYS = ("name",)


class ListError(Exception):
    """A list that cannot be carried out; its problems, a sentence or two each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__(f"{' '.join(self.problems)} Nothing was changed.")


@dataclass(frozen=True)
class Item:
    """One resource of the list. Its arguments still refer to others.

    :param needs: keys of the items that it refers to or names. It is done when these have succeeded.
    :param after: keys of the items that have to be through before, whatever became of them.
    """

    key: str
    id: str
    arguments: Settings
    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    @property
    def title(self) -> str:
        return f"{TYPES[self.arguments['module']].title} {self.arguments['name']}"

    @property
    def removes(self) -> bool:
        return bool(self.arguments["state"] == "absent")


@dataclass(frozen=True)
class Entry:
    """An entry of the list with the items that it stands for."""

    label: str
    keys: tuple[str, ...]
    several: bool
    modules: frozenset[str]
    present: bool


class ResourceList:
    """The items of a list, by key, in the order of the list."""

    def __init__(self, given: Sequence[Any], defaults: Mapping[str, Any] | None = None) -> None:
        """
        :param given: entries as a task has them. A list among them, or a ``block``, stands for its own entries.
        :param defaults: options of the entries that do not set them.
        :raises ListError: with everything that is wrong.
        """
        self._defaults = dict(defaults or {})
        self._problems: list[str] = []
        self.items: dict[str, Item] = {}
        self._entries: dict[str, Entry] = {}
        self._named: dict[str, dict[str, list[str]]] = {}
        for number, (entry, on) in enumerate(_flat(given, on=True), 1):
            self._read(number, entry, on)
        if self._problems:
            raise ListError(self._problems)
        for key, item in self.items.items():
            needs, after = frozenset(self._needs(item)), frozenset(self._comes_after(item))
            self.items[key] = Item(key, item.id, item.arguments, needs, after)
        if self._problems:
            raise ListError(self._problems)
        self.order = self._sorted()

    def resolve(self, item: Item, attributes: Callable[[str], Mapping[str, Any]]) -> Settings:
        """An item's arguments with the values that they refer to.

        :param attributes: what others can refer to, of the item with a key.
        """

        def value(reference: Reference) -> Any:
            keys = self._keys(reference)
            values = [
                self.items[key].arguments["name"]
                if reference.attribute == "name"
                else attributes(key).get(reference.attribute)
                for key in keys
            ]
            return values if reference.place == "*" else values[0]

        return {
            name: references.fill_in(argument, value) if name in _REFERRING else argument
            for name, argument in item.arguments.items()
        }

    def results(self, attributes: Callable[[str], Settings]) -> dict[str, Any]:
        """Attributes by id: a list for an entry with ``for_each``, nothing for one that is switched off."""
        return {
            identifier: [attributes(key) for key in entry.keys]
            if entry.several
            else next((attributes(key) for key in entry.keys), {})
            for identifier, entry in self._entries.items()
            if not identifier.startswith("#")
        }

    def _read(self, number: int, given: Any, on: bool) -> None:
        if not isinstance(given, Mapping):
            self._problems.append(f"Entry {number} is {given!r}. An entry is a dictionary.")
            return
        identifier = str(given.get("id") or f"#{number}")
        label = f"Entry {given['id']}" if given.get("id") else f"Entry {number} ({given.get('name', 'no name')})"
        problem = self._about(identifier, given)
        if problem:
            self._problems.append(f"{label}: {problem}")
            return
        items = []
        several = given.get("for_each") is not None
        for place, each in enumerate(given["for_each"] if several else [None]) if on else ():
            try:
                items.append(self._item(identifier, given, place if several else None, each))
            except (BadReferenceError, ValueError) as error:
                self._problems.append(f"{label}: {error}")
        keys = tuple(item.key for item in items)
        modules = frozenset(item.arguments["module"] for item in items)
        present = not any(item.removes for item in items)
        self._entries[identifier] = Entry(label, keys, several, modules, present)
        self._named[identifier] = {word: [str(name) for name in given.get(word) or ()] for word in _LISTS[1:]}
        self.items |= {item.key: item for item in items}

    def _about(self, identifier: str, given: Mapping[str, Any]) -> str:
        if not identifier.startswith("#") and not references.is_identifier(identifier):
            return "an id has letters, digits and underscores, and is not each."
        if identifier in self._entries:
            return "another entry has the same id. Give each its own."
        for name in given:
            if name not in SPEC and name not in _STEERING:
                near = difflib.get_close_matches(str(name), [*SPEC, *_STEERING], n=1)
                return f"{name} is not an option.{f' Did you mean {near[0]}?' if near else ''}"
        for name in _LISTS:
            if given.get(name) is not None and not isinstance(given[name], list | tuple):
                return f"{name} must be a list."
        return ""

    def _item(self, identifier: str, given: Mapping[str, Any], place: int | None, each: Any) -> Item:
        own = {name: value for name, value in given.items() if name not in _STEERING and value is not None}
        arguments = {**self._defaults, **own}
        if place is not None:
            arguments = references.fill_in_each(arguments, each, place)
        validation = ArgumentSpecValidator(SPEC).validate(arguments)
        if validation.error_messages:
            raise ValueError(f"{'; '.join(validation.error_messages)}.")
        valid: Settings = validation.validated_parameters
        if valid["state"] == "absent":
            # What is to go needs no settings, and nobody whom they refer to.
            valid |= {"settings": {}, "once": {}, "alternatives": []}
        for name in valid.keys() - _REFERRING:
            if any(True for _reference in references.found_in(valid[name])):
                raise ValueError(f"{name} is {valid[name]}. It can refer to each, not to another entry.")
        return Item(identifier if place is None else f"{identifier}.{place}", identifier, valid)

    def _named_in(self, word: str, item: Item) -> Iterator[str]:
        for identifier in self._named[item.id][word]:
            if identifier in self._entries:
                yield from self._entries[identifier].keys
            else:
                label = self._entries[item.id].label
                self._problems.append(f"{label}: {word} names {identifier}, {self._no_such(identifier)}")

    def _comes_after(self, item: Item) -> Iterator[str]:
        yield from self._named_in("after", item)
        # What others share with it, such as a bucket's configuration, is changed by one at a time.
        shared = self._shared(item)
        if shared is not None:
            earlier = itertools.takewhile(lambda other: other.key != item.key, self.items.values())
            yield from (other.key for other in earlier if self._shared(other) == shared)

    def _shared(self, item: Item) -> tuple[str, str] | None:
        kind = TYPES[item.arguments["module"]]
        return (kind.module, kind.part_of(item.arguments["name"])) if kind.part_of else None

    def _needs(self, item: Item) -> Iterator[str]:
        entry = self._entries[item.id]
        yield from self._named_in("needs", item)
        try:
            for name in _REFERRING:
                for reference in references.found_in(item.arguments[name]):
                    yield from self._keys(reference)
        except BadReferenceError as error:
            self._problems.append(f"{entry.label}: {error}")

    def _keys(self, reference: Reference) -> tuple[str, ...]:
        """The items that a reference is to.

        :raises BadReferenceError: where there is none.
        """
        entry = self._entries.get(reference.id)
        if entry is None or reference.id.startswith("#"):
            raise BadReferenceError(f"{reference} names {reference.id}, {self._no_such(reference.id)}")
        if not entry.present:
            raise BadReferenceError(f"{reference}: {reference.id} has state absent, so it has no attributes.")
        for module in entry.modules:
            known = (*_ALWAYS, *TYPES[module].computed)
            if reference.attribute not in known:
                raise BadReferenceError(
                    f"{reference}: a {TYPES[module].title} has {', '.join(sorted(known))}, not {reference.attribute}."
                )
        if reference.place == "*":
            return entry.keys
        if entry.several != (reference.place is not None):
            which = f"${{{reference.id}.0.{reference.attribute}}} or ${{{reference.id}.*.{reference.attribute}}}"
            single = f"${{{reference.id}.{reference.attribute}}}"
            raise BadReferenceError(f"{reference}: write {which if entry.several else single}.")
        place = int(reference.place or 0)
        if place >= len(entry.keys):
            raise BadReferenceError(
                f"{reference}: {reference.id} stands for {len(entry.keys)} resources, counted from 0."
                if entry.several
                else f"{reference}: {reference.id} is switched off by its `when`."
            )
        return (entry.keys[place],)

    def _no_such(self, identifier: str) -> str:
        known = [name for name in self._entries if not name.startswith("#")]
        near = difflib.get_close_matches(identifier, known, n=1)
        return f"which is the id of no entry.{f' Did you mean {near[0]}?' if near else ''}"

    def _sorted(self) -> list[Item]:
        """Each after what it needs, otherwise as in the list."""
        sorter = TopologicalSorter({key: item.needs | item.after for key, item in self.items.items()})
        places = {key: place for place, key in enumerate(self.items)}
        try:
            sorter.prepare()
        except CycleError as error:
            # The cycle is told from each to what it needs, the first one again at the end.
            path = " → ".join(reversed([self.items[key].key for key in error.args[1]]))
            raise ListError([f"These entries need each other: {path}. Remove a reference or an `after`."]) from error
        order: list[Item] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready(), key=places.__getitem__)
            order += [self.items[key] for key in ready]
            sorter.done(*ready)
        return order


# The arguments that may refer to other entries.
_REFERRING = frozenset({"settings", "once", "alternatives"})


def _flat(given: Iterable[Any], *, on: bool, each: Any = None) -> Iterator[tuple[Any, bool]]:
    """The entries, each with whether it counts.

    :param each: the items that a block's entries stand for, unless they name others.
    """
    for entry in given:
        if isinstance(entry, list | tuple):
            yield from _flat(entry, on=on, each=each)
        elif isinstance(entry, Mapping) and isinstance(entry.get("block"), list | tuple):
            yield from _flat(entry["block"], on=on and _is_on(entry), each=entry.get("for_each", each))
        elif isinstance(entry, Mapping):
            yield (entry if each is None else {"for_each": each, **entry}), on and _is_on(entry)
        else:
            yield entry, on


def _is_on(given: Mapping[str, Any]) -> bool:
    when = given.get("when")
    return when is None or bool(boolean(when, strict=False))
