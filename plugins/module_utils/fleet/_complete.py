# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plain data checked against a specification and completed with its defaults. Every mistake is collected."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .spec import Option


def complete(options: Mapping[str, Option], given: Any, problems: list[str], path: str = "") -> dict[str, Any]:
    """The values of all options, without those that are not given and have no default.

    Completing what is complete changes nothing. Invalid values are left out and named in `problems`.
    """
    if not isinstance(given, Mapping):
        problems.append(f"{path or 'settings'} must be a dictionary, not {type(given).__name__}")
        return {}
    result = {}
    for name, option in options.items():
        value = given.get(name)
        where = _join(path, name)
        if _empty(value):
            value = _default(option)
            if value is None:
                if option.required:
                    problems.append(f"{where} is required")
                continue
        checked = _checked(option, value, problems, where)
        if checked is not None and not (option.options and checked == {}):
            result[name] = checked
    for name in given:
        if name not in options:
            near = difflib.get_close_matches(str(name), sorted(options), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(options))}"
            problems.append(f"{_join(path, str(name))} is not a known setting; {hint}")
    return result


def without_empty(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are given: empty ones are as good as none, inside of dictionaries too."""
    found = {}
    for name, value in given.items():
        inner = options[name].options if name in options else {}
        if inner and isinstance(value, Mapping):
            value = without_empty(inner, value)
        elif inner and isinstance(value, list):
            value = [without_empty(inner, item) if isinstance(item, Mapping) else item for item in value]
        if not _empty(value):
            found[name] = value
    return found


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, tuple, dict)) and not value)


def _default(option: Option) -> Any:
    if option.options and option.type == "dict" and not any(inner.required for inner in option.options.values()):
        return {}
    return option.default


def _checked(option: Option, value: Any, problems: list[str], where: str) -> Any:
    """The value in its type, or None if it has the wrong one."""
    if option.type == "dict":
        return _dictionary(option, value, problems, where)
    if option.type == "list":
        return _list(option, value, problems, where)
    if option.type == "bool":
        return value if isinstance(value, bool) else _wrong(problems, where, "true or false", value)
    if option.type in ("int", "float"):
        return _number(option, value, problems, where)
    if not isinstance(value, str):
        return _wrong(problems, where, "text", value)
    if option.choices and value not in option.choices:
        return _wrong(problems, where, f"one of {', '.join(option.choices)}", value)
    return value


def _number(option: Option, value: Any, problems: list[str], where: str) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        _wrong(problems, where, "a number", value)
        return None
    if option.type == "int" and value != int(value):
        _wrong(problems, where, "an integer", value)
        return None
    if (option.least is not None and value < option.least) or (option.most is not None and value > option.most):
        _wrong(problems, where, option.limits, value)
        return None
    return int(value) if option.type == "int" else float(value)


def _dictionary(option: Option, value: Any, problems: list[str], where: str) -> dict[str, Any] | None:
    if not isinstance(value, Mapping):
        _wrong(problems, where, "a dictionary", value)
        return None
    if option.options:
        return complete(option.options, value, problems, where)
    if option.elements == "str":
        return {str(key): str(item) for key, item in value.items()}
    return dict(value)


def _list(option: Option, value: Any, problems: list[str], where: str) -> list[Any] | None:
    if option.elements == "dict":
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            _wrong(problems, where, "a list of dictionaries", value)
            return None
        return [complete(option.options, item, problems, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence) or not all(isinstance(item, str) and item for item in value):
        _wrong(problems, where, "a list of strings", value)
        return None
    return list(dict.fromkeys(value))


def _wrong(problems: list[str], where: str, right: str, value: Any) -> None:
    problems.append(f"{where} must be {right}, not {value!r}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
