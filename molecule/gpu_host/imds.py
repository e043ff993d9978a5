"""On the host: IMDSv2 with a spot notice once /run/interrupt exists. The embedded AWS interrupts no instance."""

from __future__ import annotations

import http.server
from pathlib import Path

NOTICE = b'{"action": "terminate", "time": "2026-11-26T08:22:00Z"}'


class Answer(http.server.BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self._send(200, b"token")

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != "token":
            self._send(401, b"")
        elif self.path == "/latest/meta-data/spot/instance-action" and Path("/run/interrupt").exists():
            self._send(200, NOTICE)
        else:
            self._send(404, b"")

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)


http.server.HTTPServer(("127.0.0.1", 8169), Answer).serve_forever()
