# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading plain dicts into typed values, collecting every mistake instead of stopping at the first."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any


class Reader:
    """Reads one level of a dict. `problems` is shared with the levels below it."""

    def __init__(self, data: Any, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        self._seen: set[str] = set()
        self._data: Mapping[str, Any] = {}
        if isinstance(data, Mapping):
            self._data = data
        elif data is not None:
            self._problem("", f"must be a dictionary, not {type(data).__name__}")

    def text(self, key: str, default: str = "", *, choices: Sequence[str] = (), required: bool = False) -> str:
        value = self._take(key)
        if value is None:
            if required:
                self._problem(key, "is required")
            return default
        if not isinstance(value, str):
            self._problem(key, f"must be text, not {value!r}")
            return default
        text: str = value
        if choices and text not in choices:
            self._problem(key, f"must be one of {', '.join(choices)}, not {text!r}")
            return default
        if required and not text:
            self._problem(key, "must not be empty")
        return text

    def number(self, key: str, default: float, *, least: float = 0.0, most: float | None = None) -> float:
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._problem(key, f"must be a number, not {value!r}")
            return default
        if value < least or (most is not None and value > most):
            self._problem(key, f"must be {_range(least, most)}, not {value}")
            return default
        return float(value)

    def integer(self, key: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        value = self.number(key, default, least=least, most=most)
        if value != int(value):
            self._problem(key, f"must be a whole number, not {value}")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._problem(key, f"must be true or false, not {value!r}")
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, Sequence) or not all(isinstance(item, str) and item for item in value):
            self._problem(key, f"must be a list of texts, not {value!r}")
            return ()
        return tuple(dict.fromkeys(value))

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._problem(key, f"must be a dictionary, not {value!r}")
            return {}
        return dict(value)

    def items(self, key: str) -> list[Reader]:
        value = self._take(key)
        if value is None:
            return []
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            self._problem(key, f"must be a list of dictionaries, not {value!r}")
            return []
        return [Reader(item, f"{self._name(key)}[{index}]", self.problems) for index, item in enumerate(value)]

    def child(self, key: str) -> Reader:
        return Reader(self._take(key), self._name(key), self.problems)

    def has(self, key: str) -> bool:
        return self._data.get(key) is not None

    def done(self) -> None:
        """Report the keys that nobody asked for, with the one that was probably meant."""
        for key in self._data:
            if key not in self._seen and not str(key).startswith("_"):
                near = difflib.get_close_matches(str(key), sorted(self._seen), n=1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(self._seen))}"
                self._problem(str(key), f"is not a known setting{hint}")

    def _take(self, key: str) -> Any:
        self._seen.add(key)
        return self._data.get(key)

    def _name(self, key: str) -> str:
        return ".".join(part for part in (self.path, key) if part)

    def _problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self._name(key) or 'settings'} {text}")


def _range(least: float, most: float | None) -> str:
    return f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
