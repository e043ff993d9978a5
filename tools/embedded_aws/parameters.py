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
        elif "cbor" in kind:
            self._json = _cbor(request.body)
        elif request.body[:1] == b"{":
            with contextlib.suppress(ValueError):
                self._json = json.loads(request.body)

    def one(self, name: str) -> str:
        """A single value; empty where it is not given."""
        value = self._json.get(name, self._form.get(name, self._query.get(name, "")))
        return value if isinstance(value, str) else json.dumps(value)

    def deep(self, *names: str) -> str:
        """A value within objects of JSON, or of a form; empty where it is not given."""
        here: Any = self._json
        for name in names:
            here = here.get(name) if isinstance(here, dict) else None
        return str(here) if here else self.one(".".join(names))

    def has(self, name: str) -> bool:
        """Whether a parameter is given: a value, a list or a map that is not empty."""
        numbered = (f"{name}.", f"{name}.member.")
        return bool(self._json.get(name) or self._form.get(name) or any(key.startswith(numbered) for key in self._form))

    def ids(self) -> list[str]:
        """Everything in a form that looks like an id of EC2's, once."""
        found = (value for value in self._form.values() if re.fullmatch(r"[a-z]+-[0-9a-f]{8,17}", value))
        return list(dict.fromkeys(found))

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


def _cbor(body: bytes) -> dict[str, Any]:
    """A request of CloudWatch's or of the tagging API's, which newer SDKs send in this form."""
    from botocore.parsers import BaseCBORParser

    parser = BaseCBORParser()
    try:
        found = parser.parse_data_item(parser.get_peekable_stream_from_bytes(body))
    except Exception:  # it is moto's to refuse what it cannot read
        return {}
    return found if isinstance(found, dict) else {}
