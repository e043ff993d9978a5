"""A proxy before the embedded AWS, for what AWS or an endpoint between does and the embedded one does not."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})

Form = dict[str, list[str]]


class Proxy:
    """Passes everything on, but for what ``answer`` answers itself, and as ``change`` makes it of an EC2 form."""

    def __init__(
        self,
        upstream: str,
        *,
        answer: Callable[[Form], bytes | None] = lambda form: None,
        change: Callable[[Form], Form] = lambda form: form,
    ) -> None:
        address = urllib.parse.urlsplit(upstream)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                form = urllib.parse.parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
                own = answer(form)
                if own is not None:
                    self._answer(400, {"Content-Type": "text/xml"}, own)
                    return
                changed = change(form)
                if changed != form:
                    body = urllib.parse.urlencode(changed, doseq=True).encode()
                # As it came: a header more, and moto takes the request for another service's.
                connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, str(len(body)) if name.lower() == "content-length" else value)
                connection.endheaders(body)
                response = connection.getresponse()
                self._answer(response.status, dict(response.headers), response.read())
                connection.close()

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _pass_on

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """The tests' output is no place for it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def without_filters(form: Form) -> Form:
    """What an endpoint makes of a request that ignores filters: it answers with everything that it has."""
    if not (form.get("Action") or [""])[0].startswith("Describe"):
        return form
    return {name: value for name, value in form.items() if not name.startswith("Filter.")}
