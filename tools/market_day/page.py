"""The page of the day, on 127.0.0.1 only: what `Watch` knows, as a document, and the page that shows it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from . import picture
from .record import Day

HOST = "127.0.0.1"
_FOLDER = Path(__file__).parent
_STATIC = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Watched(Protocol):
    """What the page shows."""

    lock: Any
    days: dict[Any, Day]

    def snapshot(self) -> dict[str, Any]: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    watched: Watched


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        # A page of another site that resolves its name to this address has that name here.
        asked = self.headers.get("Host", "")
        if asked.partition(":")[0] not in (HOST, "localhost"):
            self._answer(b"This page is for 127.0.0.1 only.\n", "text/plain", 403)
            return
        path = self.path.partition("?")[0]
        if path in _STATIC:
            name, kind = _STATIC[path]
            self._answer((_FOLDER / name).read_bytes(), kind)
        elif path == "/day.json":
            self._answer(json.dumps(self.server.watched.snapshot(), default=vars).encode(), "application/json")
        elif path == "/day.svg":
            with self.server.watched.lock:
                drawn = picture.draw(list(self.server.watched.days.values()), "Who ran when, on the exchange's time")
            self._answer(drawn.encode(), "image/svg+xml")
        elif path == "/favicon.ico":
            self._answer(b"", "image/x-icon")
        else:
            self._answer(b"There is nothing here.\n", "text/plain", 404)

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Page:
    """
    :param port: 0 for any free one
    """

    def __init__(self, watched: Watched, port: int = 0) -> None:
        self._server = _Server((HOST, port), _Handler)
        self._server.watched = watched
        self.url = f"http://{HOST}:{self._server.server_address[1]}/"

    def __enter__(self) -> Page:
        threading.Thread(target=self._server.serve_forever, daemon=True, name="page").start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._server.shutdown()
        self._server.server_close()
