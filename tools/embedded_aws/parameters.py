"""What a request says, whatever the protocol: parameters as plain names and values."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

from .recording import Request


class Parameters:
    """The parameters of a request. Lists of the query protocols are found by their numbered names."""

    def __init__(self, request: Request) -> None:
        self.path = unquote(request.path)
        self._form: dict[str, str] = {}
        self._json: dict[str, Any] = {}
        self._query = {name: values[0] for name, values in request.query.items()}
        kind = request.headers.get("content-type", "")
        if "x-www-form-urlencoded" in kind:
            self._form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        elif request.body[:1] == b"{":
            with contextlib.suppress(ValueError):
                self._json = json.loads(request.body)

    def one(self, name: str) -> str:
        """A single value; empty where it is not given."""
        value = self._json.get(name, self._form.get(name, self._query.get(name, "")))
        return value if isinstance(value, str) else json.dumps(value)

    def many(self, name: str) -> list[str]:
        """A list's values: ``InstanceIds`` of JSON, ``InstanceId.1`` of forms."""
        given = self._json.get(name)
        if isinstance(given, list):
            return [str(item) for item in given]
        numbered = re.compile(rf"{re.escape(name)}\.(?:member\.)?(\d+)$")
        found = [(int(hit[1]), value) for key, value in self._form.items() if (hit := numbered.match(key))]
        return [value for _number, value in sorted(found)]

    def under(self, prefix: str) -> dict[str, str]:
        """The form's parameters whose names begin so, without that beginning."""
        return {key.removeprefix(prefix): value for key, value in self._form.items() if key.startswith(prefix)}

    def pairs(self, prefix: str) -> dict[str, str]:
        """Tags of a form: ``Tag.1.Key``, ``Tag.1.Value``."""
        own = self.under(f"{prefix}.")
        return {value: own.get(f"{key[:-3]}Value", "") for key, value in own.items() if key.endswith("Key")}

    def targets(self) -> Iterator[tuple[str, list[str]]]:
        """The targets of an SSM command: key and values."""
        for target in self._json.get("Targets") or ():
            yield str(target.get("Key", "")), [str(value) for value in target.get("Values", ())]
