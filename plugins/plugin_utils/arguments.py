# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check a resource's arguments against the module that will act, before anything is asked of AWS.

What a module takes stands in its documentation, which ansible-test holds equal to its argument spec. Reading that
costs a millisecond or two and imports nothing; the module itself would bring boto3 along.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.loader import module_loader
from ansible_collections.algo.trading.plugins.module_utils.resources import STEERING, UNKNOWN, ResourceType

_DOCUMENTATION = re.compile(r"^DOCUMENTATION = r?(\"\"\"|''')(.*?)\1", re.MULTILINE | re.DOTALL)
_KEPT = ("type", "elements", "choices", "required", "aliases")
Spec = dict[str, dict[str, Any]]

_TAGS: Spec = {"tags": {"type": "dict", "aliases": ["resource_tags"]}, "purge_tags": {"type": "bool"}}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SAMPLES: dict[str, Any] = {"bool": False, "int": 0, "float": 0.0, "dict": {}, "list": []}


@lru_cache
def argument_spec(module: str) -> Spec:
    """What a module takes, without its connection to AWS, which is not a resource's business.

    :raises LookupError: where the module is not installed or documents nothing.
    """
    path = module_loader.find_plugin(module)
    found = _DOCUMENTATION.search(Path(path).read_text(encoding="utf-8")) if path else None
    if not found:
        raise LookupError(f"the module {module} is not installed")
    documented = yaml.load(found[2], _Loader)  # noqa: S506 - a safe loader, the fast one where there is one
    fragments = documented.get("extends_documentation_fragment") or []
    tagged = any(str(fragment).startswith("amazon.aws.tags") for fragment in fragments)
    spec: Spec = _spec(documented.get("options") or {}) | (_TAGS if tagged else {})
    return spec


def load(module: str) -> None:
    """Read what a module takes, for the workers that are forked from this process later."""
    # A module that is not installed is reported where it is used.
    with suppress(LookupError):
        argument_spec(module)


def _spec(options: Mapping[str, Any]) -> Spec:
    spec = {}
    for name, option in options.items():
        spec[name] = {key: option[key] for key in _KEPT if key in option}
        if option.get("suboptions"):
            spec[name]["options"] = _spec(option["suboptions"])
    return spec


def _shaped(spec: Spec, shapes: Mapping[str, Any]) -> Spec:
    """The spec with what is compared within arguments that the module leaves free."""
    inner = {name: {**spec[name], "options": _shape(shape)} for name, shape in shapes.items() if name in spec}
    return {**spec, **inner}


def _shape(shape: Mapping[str, Any]) -> Spec:
    return {
        name: {"type": "dict", "options": _shape(kind)} if isinstance(kind, Mapping) else {"type": kind}
        for name, kind in shape.items()
    }


def problems(kind: ResourceType, settings: Mapping[str, Any], once: Mapping[str, Any]) -> list[str]:
    """What is wrong with the arguments of a resource, a sentence each.

    :param settings: the arguments of the module, with those that the engine adds.
    :param once: those that are passed only when the resource is made.
    """
    # What is passed only once may be anything that the module takes.
    shapes = {name: shape for name, shape in kind.shapes.items() if name in settings}
    spec = _shaped(argument_spec(kind.module), shapes)
    # Tags that the module does not take are put on by another.
    given = {name: value for name, value in {**settings, **once}.items() if name != "tags" or not kind.separate_tags}
    found = [
        f"{name} is not one of {', '.join(known)}; nothing else of it is compared.{_meant(name, known)}"
        if name.partition(".")[0] in shapes
        else f"{name} is not an argument of {kind.module}.{_meant(name, known)}"
        for name, known in _unknown(given, spec, "")
    ]
    validation = ArgumentSpecValidator(spec).validate(_known({**given, "state": "present"}, spec))
    found += [f"{error}." for error in validation.errors.errors if not isinstance(error, UnsupportedError)]
    aliases = {alias: name for name, option in spec.items() for alias in option.get("aliases") or ()}
    # A reading has the argument under its own name only, so an alias would differ in every run.
    found += [
        f"{name} is an alias in {kind.module}. Use {aliases[name]}."
        for name in sorted(settings.keys() & aliases.keys() - spec.keys())
    ]
    comparable = kind.compared | kind.create_only | kind.steering | STEERING
    found += [
        f"{name} cannot be compared: AWS does not report it for a {kind.title}, so it would differ in every run. "
        "Remove it, or pass it under `once`, which applies only when the resource is created."
        for name in sorted(settings.keys() & spec.keys() - comparable)
        if settings[name] is not None
    ]
    return found


def _unknown(given: Mapping[str, Any], spec: Spec, path: str) -> Iterable[tuple[str, list[str]]]:
    """Names that the module does not have, each with those that it has in that place."""
    options = {alias: option for option in spec.values() for alias in option.get("aliases") or ()} | spec
    for name, value in given.items():
        if name not in options:
            yield f"{path}{name}", sorted(spec)
        elif options[name].get("options"):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, Mapping):
                    yield from _unknown(item, options[name]["options"], f"{path}{name}.")


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _known(value: Any, spec: Spec) -> Any:
    """Arguments with a fitting value in place of each that is known only after another resource is made."""
    return {name: _fitting(item, spec.get(name, {})) for name, item in value.items()}


def _fitting(value: Any, option: Mapping[str, Any]) -> Any:
    kind = option.get("type", "str")
    if value == UNKNOWN:
        return next(iter(option.get("choices") or ()), _SAMPLES.get(kind, ""))
    if isinstance(value, Mapping) and option.get("options"):
        return _known(value, option["options"])
    if isinstance(value, list) and kind == "list":
        each = {"type": option.get("elements", "raw"), "options": option.get("options")}
        return [_fitting(item, each) for item in value]
    return value
