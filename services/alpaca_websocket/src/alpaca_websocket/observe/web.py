# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of an HTTP server as the status port needs: GET, one request for each connection, all of it within a time.

So a client that sends half a request, or does not read the answer, holds nothing for long.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

_log = logging.getLogger(__name__)
_SECONDS = 10.0  # for request and answer
_MOST = 32  # connections at once; one more, and the oldest goes
_HEAD_BYTES = 8 * 1024


class Request(NamedTuple):
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By their names in lower case."""


class Answer(NamedTuple):
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = {}


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Web:
    """:param token: what to send as `Authorization: Bearer …`, or as password, to be answered; empty: nothing"""

    def __init__(self, answer: Callable[[Request], Answer], headers: Mapping[str, str], token: str = "") -> None:
        self._answer, self._headers, self._token = answer, headers, token.encode()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def start(self, host: str, port: int) -> int:
        """Returns the port. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host or None, port, limit=_HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST:
            next(iter(self._open)).transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(_SECONDS):
                writer.write(await self._talk(reader))
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):  # it left, or its time is over
            pass
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return self._response(_told(Problem(431, "the request is too long")))
        method = head.partition(b" ")[0]
        try:
            if method not in (b"GET", b"HEAD"):
                raise Problem(405, "there is GET and HEAD")
            found = self._answer(self._allowed(_parse(head)))
        except Problem as problem:
            found = _told(problem)
        except Exception:
            _log.exception("a page failed")
            found = _told(Problem(500, "a mistake of ours; it is in the log"))
        return self._response(found, body=method != b"HEAD")

    def _allowed(self, request: Request) -> Request:
        if self._token:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            secret = given.strip().encode()
            if scheme.lower() == "basic":
                with contextlib.suppress(binascii.Error):
                    secret = base64.b64decode(secret, validate=True).partition(b":")[2]
            if not hmac.compare_digest(secret, self._token):
                raise Problem(401, "the token of observe.token_file is needed, as Bearer or as password")
        return request

    def _response(self, answer: Answer, *, body: bool = True) -> bytes:
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Connection": "close",
            **self._headers,
            **answer.headers,
        }
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + (answer.body if body else b"")


def _told(problem: Problem) -> Answer:
    headers = {"WWW-Authenticate": 'Basic realm="alpaca-websocket"'} if problem.status == 401 else {}
    return Answer(f"{problem}\n".encode(), status=problem.status, headers=headers)


def _parse(head: bytes) -> Request:
    """Raises Problem."""
    first, *lines = head.decode("latin-1").split("\r\n")
    try:
        _method, target, _version = first.split(" ")
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise Problem(400, "that is no request") from None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(parts.path, query, headers)
