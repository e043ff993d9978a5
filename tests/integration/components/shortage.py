"""An AWS that is short of some instance types: passes everything on to the embedded one, but for their launches."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

# A shortage that amazon.aws reports at once; it waits minutes before it reports InsufficientInstanceCapacity.
CODE = "VcpuLimitExceeded"
_ANSWER = (
    f"<Response><Errors><Error><Code>{CODE}</Code><Message>No more of these.</Message></Error></Errors>"
    "<RequestID>1</RequestID></Response>"
)
_HOP = frozenset({"connection", "transfer-encoding", "content-length", "date", "server"})


class Shortage:
    def __init__(self, upstream: str) -> None:
        refused = self._refused = set[str]()
        address = urllib.parse.urlsplit(upstream)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                form = urllib.parse.parse_qs(body.decode("utf-8", "replace"))
                if form.get("Action") == ["RunInstances"] and form["InstanceType"][0] in refused:
                    self._answer(400, {"Content-Type": "text/xml"}, _ANSWER.encode())
                    return
                # As it came: a header more, and moto takes the request for another service's.
                connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                self._answer(answer.status, dict(answer.headers), answer.read())
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

    def refuse(self, *instance_types: str) -> None:
        self._refused.clear()
        self._refused.update(instance_types)

    def __enter__(self) -> Shortage:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
