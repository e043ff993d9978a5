"""SSM documents of type Command: the steps that a host runs, with the parameters filled in.

https://docs.aws.amazon.com/systems-manager/latest/userguide/documents-command-ssm-plugin-reference.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_SHELL = "aws:runShellScript"
_PARAMETER = re.compile(r"\{\{\s*(?:ssm:)?([\w.-]+)\s*\}\}")
_EXECUTION_SECONDS = 3600.0
RUN_SHELL_SCRIPT: dict[str, Any] = {
    "schemaVersion": "1.2",
    "parameters": {
        "commands": {"type": "StringList"},
        "workingDirectory": {"type": "String", "default": ""},
        "executionTimeout": {"type": "String", "default": "3600"},
    },
    "runtimeConfig": {
        _SHELL: {
            "properties": [
                {
                    "id": "0.aws:runShellScript",
                    "runCommand": "{{ commands }}",
                    "workingDirectory": "{{ workingDirectory }}",
                    "timeoutSeconds": "{{ executionTimeout }}",
                }
            ]
        }
    },
}
"""AWS's own document of that name, `AWS-RunShellScript`."""


class UnsupportedActionError(Exception):
    """A step does something that this emulator does not do."""


class InvalidParametersError(ValueError):
    """The parameters do not fit the document."""


@dataclass(frozen=True)
class Step:
    """One script of a document."""

    name: str
    script: str
    directory: str
    timeout: float
    exit_on_failure: bool


def steps(content: dict[str, Any], given: dict[str, list[str]]) -> list[Step]:
    """The steps of a document.

    :raises InvalidParametersError: if a parameter is missing, unknown or of the wrong form
    :raises UnsupportedActionError: if a step does something else than running a script
    """
    values = _values(content.get("parameters") or {}, given)
    if content["schemaVersion"] == "1.2":
        found: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
            ((each.get("id") or action), action, each, {})
            for action, plugin in content["runtimeConfig"].items()
            for each in plugin["properties"]
        ]
    else:
        found = [(each["name"], each["action"], each["inputs"], each) for each in content["mainSteps"]]
    return [_step(name, action, inputs, more, values) for name, action, inputs, more in found]


def _step(name: str, action: str, inputs: dict[str, Any], more: dict[str, Any], values: dict[str, Any]) -> Step:
    if action != _SHELL:
        raise UnsupportedActionError(f"Step {name}: the embedded AWS runs {_SHELL}, not {action}.")
    inputs = {key: _filled(value, values) for key, value in inputs.items()}
    lines = inputs.get("runCommand") or []
    return Step(
        name=name,
        script="\n".join([lines] if isinstance(lines, str) else [str(line) for line in lines]) + "\n",
        directory=str(inputs.get("workingDirectory") or ""),
        timeout=float(inputs.get("timeoutSeconds") or _EXECUTION_SECONDS),
        exit_on_failure=str(more.get("onFailure", "")).lower() in ("exit", "successandexit"),
    )


def _values(declared: dict[str, Any], given: dict[str, list[str]]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(declared))
    if unknown:
        raise InvalidParametersError(f"Document does not support parameters named [{', '.join(unknown)}]")
    values: dict[str, Any] = {}
    for name, about in declared.items():
        listed = about.get("type") in ("StringList", "List")
        if name in given:
            value: Any = list(given[name]) if listed else "".join(given[name][:1])
        elif "default" in about:
            value = about["default"]
        else:
            raise InvalidParametersError(f"Parameter {name} is required and has no value.")
        for each in value if isinstance(value, list) else [value]:
            if about.get("allowedValues") and each not in about["allowedValues"]:
                raise InvalidParametersError(f"Parameter {name}: {each!r} is not one of the allowed values.")
            if about.get("allowedPattern") and not re.search(about["allowedPattern"], str(each)):
                raise InvalidParametersError(f"Parameter {name}: {each!r} does not match {about['allowedPattern']}.")
        values[name] = value
    return values


def _filled(value: Any, values: dict[str, Any]) -> Any:
    """A value with its parameters: a list that stands alone stays a list."""
    if isinstance(value, list):
        filled = [_filled(each, values) for each in value]
        return [line for each in filled for line in (each if isinstance(each, list) else [each])]
    if not isinstance(value, str):
        return value
    alone = _PARAMETER.fullmatch(value.strip())
    if alone and alone[1] in values:
        return values[alone[1]]
    return _PARAMETER.sub(lambda found: str(values.get(found[1], found[0])), value)
