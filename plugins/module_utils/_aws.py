# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls with a given boto3 client. Plain Python, which imports neither boto3 nor botocore."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, TypeVar

from ._errors import error_code

_Thing = TypeVar("_Thing")
_Answer = TypeVar("_Answer")
# Of one kind of resource. AWS answers one call in 20 to 300 ms, and throttles none that makes so few at once.
_AT_A_TIME = 5


class Clients:
    """Gives one shared client for each service, also to threads: making a client is not thread-safe, using it is."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make
        self._clients: dict[str, Any] = {}
        self._lock = Lock()

    def __call__(self, service: str) -> Any:
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]


class Reading:
    """One reading of an account: gives clients as they are given to it, and asks once what several kinds need."""

    def __init__(self, clients: Callable[[str], Any]) -> None:
        self._clients = clients
        self._answers: dict[str, Any] = {}
        self._asking: dict[str, Lock] = {}
        self._lock = Lock()

    def __call__(self, service: str) -> Any:
        return self._clients(service)

    def once(self, what: str, ask: Callable[[], Any]) -> Any:
        """The answer to ``ask``, which the first thread asks. An error is no answer: the next one asks again."""
        with self._lock:
            asking = self._asking.setdefault(what, Lock())
        with asking:
            if what not in self._answers:
                self._answers[what] = ask()
            return self._answers[what]


def caller(reading: Reading) -> dict[str, str]:
    """Whose credentials these are, as STS says it: ``Account``, ``Arn``."""
    found: dict[str, str] = reading.once("caller", reading("sts").get_caller_identity)
    return found


def unless_missing(call: Callable[..., Any], *codes: str, **arguments: Any) -> Any:
    """Make one API call; None where AWS says with one of ``codes`` that the resource is not there."""
    try:
        return call(**arguments)
    except Exception as error:
        if error_code(error) in codes:
            return None
        raise


class Api:
    """Calls of one AWS service. ``doing`` says in plain words what a call is for.

    Errors stay botocore's here; `aws_module.ModuleApi` puts them into words.

    :param missing: the codes by which the service says that a resource is not there.
    """

    def __init__(self, client: Any, *missing: str) -> None:
        self.client = client
        self._missing = missing

    def unless(self, *codes: str) -> Api:
        """The same calls, where `find` answers None to these codes instead."""
        return type(self)(self.client, *codes)

    def call(self, method: str, doing: str, **arguments: Any) -> dict[str, Any]:
        """Make a call."""
        answer: dict[str, Any] = self._make(doing, getattr(self.client, method), arguments)
        return answer

    def find(self, method: str, doing: str, **arguments: Any) -> dict[str, Any] | None:
        """Make a call; None where the resource is not there."""
        call = partial(unless_missing, getattr(self.client, method), *self._missing)
        answer: dict[str, Any] | None = self._make(doing, call, arguments)
        return answer

    def delete(self, method: str, doing: str, **arguments: Any) -> bool:
        """Make a call that deletes; False where the resource is not there any more."""
        return self.find(method, doing, **arguments) is not None

    def _make(self, doing: str, call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        return call(**arguments)


def pages(client: Any, operation: str, result: str, **arguments: Any) -> Iterable[Any]:
    """Every item under ``result`` of a paginated operation."""
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page.get(result) or ()


def read_each(read: Callable[[_Thing], Iterable[_Answer]], things: Iterable[_Thing]) -> Iterator[_Answer]:
    """What ``read`` finds of each thing, in the things' order, read a few at a time."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for found in pool.map(read, things):
            yield from found


def meaning(value: Any) -> Any:
    """JSON as what it says, anything else as it is: neither order nor blanks are a difference."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
