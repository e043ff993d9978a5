"""Every API call passes here: it is noted, whoever must see it first sees it, and moto answers one at a time."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from . import operations

_REMEMBERED = 200_000

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Request:
    """One API call."""

    service: str
    operation: str
    region: str
    access_key: str
    write: bool
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What is answered in moto's place."""

    status: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[Request], "Answer | None"]
Control = Callable[[str, bytes], Any]


class Recorder:
    """WSGI middleware.

    :param moto: the application that keeps the account
    :param one_at_a_time: held while moto works: its tables are not safe to share
    :param handlers: asked in turn; the first answer counts, moto's otherwise. They are called without the lock.
    """

    def __init__(
        self,
        moto: Wsgi,
        log: Callable[[str], None],
        one_at_a_time: threading.RLock,
        handlers: Sequence[Handler] = (),
        controls: dict[str, Control] | None = None,
        on_reset: Callable[[], None] = lambda: None,
    ) -> None:
        self._moto = moto
        self.token = ""
        self._log = log
        self._one_at_a_time = one_at_a_time
        self._handlers = handlers
        self._controls = controls or {}
        self._on_reset = on_reset
        self._calls: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_algo/"):
            return self._own(environ, path.removeprefix("/_algo/"), start_response)
        if path.startswith("/moto-api"):
            if path == "/moto-api/reset":
                self._on_reset()
            with self._one_at_a_time:
                return list(self._moto(environ, start_response))
        return self._recorded(environ, start_response)

    def _own(self, environ: dict[str, Any], name: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ.get("REQUEST_METHOD", "GET")
        status, answer = "200 OK", {"server": "algo.trading", "token": self.token, "pid": os.getpid()}
        if name == "calls":
            answer = list(self._calls)  # type: ignore[assignment]
            if method == "DELETE":
                self._calls.clear()
        elif name in self._controls:
            try:
                answer = self._controls[name](method, _body(environ))
            except ValueError as error:
                status, answer = "400 Bad Request", {"error": str(error)}
        elif name != "ping":
            status, answer = "404 Not Found", {"error": f"nothing at /_algo/{name}"}
        return _send(Answer(status, {"Content-Type": "application/json"}, json.dumps(answer).encode()), start_response)

    def _recorded(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = _request(environ)
        call = {
            "service": request.service,
            "operation": request.operation,
            "write": request.write,
            "region": request.region,
            "access_key": request.access_key,
            "status": 0,
        }

        def note(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            call["status"] = int(status.split()[0])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        began = time.monotonic()
        self._calls.append(call)
        answer = next((given for handler in self._handlers if (given := handler(request)) is not None), None)
        if answer is not None:
            chunks = _send(answer, note)
        elif request.operation == "ReceiveMessage":  # waits by design
            chunks = list(self._moto(environ, note))
        else:
            with self._one_at_a_time:
                chunks = list(self._moto(environ, note))
        took = 1000 * (time.monotonic() - began)
        self._log(f"{request.service or '-'}:{request.operation} {call['status']} {took:.0f} ms")
        return chunks


def _request(environ: dict[str, Any]) -> Request:
    body = _body(environ)
    access_key, region, service = operations.credential_scope(environ)
    name = operations.operation(service or "s3", environ, body)
    return Request(
        service=service,
        operation=name,
        region=region,
        access_key=access_key,
        write=operations.is_write(service, name, body),
        method=str(environ.get("REQUEST_METHOD", "GET")),
        path=str(environ.get("PATH_INFO", "/")),
        query=parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True),
        headers={
            key.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
            for key, value in environ.items()
            if key.startswith("HTTP_") or key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        },
        body=body,
    )


def _body(environ: dict[str, Any]) -> bytes:
    """Reads the body once and puts it back for moto."""
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        body = environ["wsgi.input"].read()
    else:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return bytes(body)


def _send(answer: Answer, start_response: Callable[..., Any]) -> list[bytes]:
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    start_response(answer.status, list(headers.items()))
    return [answer.body]
