"""A record of every API call, and the lock that lets moto see one request at a time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from . import operations

# Calls that wait by design; everything else goes one at a time, because moto's tables are not safe to share.
_WAITING = frozenset({"ReceiveMessage", "Invoke"})
_REMEMBERED = 200_000


class Recorder:
    """WSGI middleware: notes each API call, and lets moto see one request at a time."""

    def __init__(self, app: Callable[..., Iterable[bytes]], log: Callable[[str], None]) -> None:
        self._app = app
        self.token = ""
        self._log = log
        self._one_at_a_time = threading.Lock()
        self._calls: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_algo/"):
            return self._own(environ, path, start_response)
        if path.startswith("/moto-api"):
            with self._one_at_a_time:
                return list(self._app(environ, start_response))
        return self._recorded(environ, start_response)

    def _own(self, environ: dict[str, Any], path: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer: Any = {"server": "algo.trading", "token": self.token, "pid": os.getpid()}
        status = "200 OK"
        if path == "/_algo/calls":
            answer = list(self._calls)
            if environ.get("REQUEST_METHOD") == "DELETE":
                self._calls.clear()
        elif path != "/_algo/ping":
            status, answer = "404 Not Found", {"error": f"nothing at {path}"}
        body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _recorded(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = self._body(environ)
        access_key, region, service = operations.credential_scope(environ)
        name = operations.operation(service or "s3", environ, body)
        call = {
            "service": service,
            "operation": name,
            "write": operations.is_write(service, name, body),
            "region": region,
            "access_key": access_key,
            "status": 0,
        }

        def note(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            call["status"] = int(status.split()[0])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        began = time.monotonic()
        self._calls.append(call)
        with contextlib.nullcontext() if name in _WAITING else self._one_at_a_time:
            chunks = list(self._app(environ, note))
        self._log(f"{service or '-'}:{name} {call['status']} {1000 * (time.monotonic() - began):.0f} ms")
        return chunks

    @staticmethod
    def _body(environ: dict[str, Any]) -> bytes:
        """Reads the body once and puts it back for moto."""
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            body = environ["wsgi.input"].read()
        else:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return bytes(body)
