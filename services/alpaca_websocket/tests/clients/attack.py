# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody does who means no good: bare sockets that send whatever they like to a server of its own process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from support import PATIENCE, Server, StandIn, ended, get, wait_for

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
COMPRESSED = 0xC1
BEGINNING, MIDDLE = 0x01, 0x00


class Raw:
    """An upgraded connection; nothing is read of it unless asked for."""

    def __init__(self, server: Server, *, source: str = "127.0.0.1", upgrade: bool = True, receive: int = 0) -> None:
        host, port = server.url.removeprefix("ws://").split("/")[0].split(":")
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.bind((source, 0))
        self.socket.connect((host, int(port)))
        if upgrade:
            self.upgrade()

    def upgrade(self, more: str = "") -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /v2/iex HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}"
            f"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n{more}\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = self.socket.recv(1)
            assert part, "it was turned away"
            answer += part
        assert b" 101 " in answer, answer

    def send(self, *frames: bytes) -> bool:
        """Whether the other side still takes them."""
        with contextlib.suppress(OSError):
            self.socket.sendall(b"".join(frames))
            return True
        return False

    def ask(self, **asked: Any) -> bool:
        return self.send(frame(TEXT, json.dumps(asked).encode()))

    def log_in(self, number: int = 0) -> None:
        self.ask(action="auth", key=f"key-{number}", secret=f"secret-{number}")
        self.until(b"authenticated")

    def until(self, wanted: bytes) -> bytes:
        """What came up to these bytes; compressed frames are inflated."""
        found = bytearray()
        while wanted not in found:
            _first, payload = self.frame()
            found += payload
        return bytes(found)

    def frame(self) -> tuple[int, bytes]:
        first, size = self._read(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._read(8))
        payload = self._read(size)
        if first & 0x40:
            payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
        return first, payload

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.socket.recv(size - len(found))
            if not part:
                raise ConnectionResetError
            found += part
        return found

    def gone(self) -> bool:
        """Reads until the other side has closed. Fails when it does not."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(1 << 20):
                pass
        return True

    def close(self) -> None:
        self.socket.close()


def frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0xFE)) + struct.pack(">H", size)
    else:
        head = bytes((first, 0xFF)) + struct.pack(">Q", size)
    return head + b"\0\0\0\0" + payload


def bomb(payload: bytes) -> bytes:
    """A compressed text frame."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return frame(COMPRESSED, (engine.compress(payload) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4])


@contextlib.contextmanager
def attacked(directory: Path, **downstream: Any) -> Iterator[tuple[StandIn, Server]]:
    """A server and its upstream."""
    upstream = StandIn()
    with ended(upstream):
        server = Server(directory, upstream, downstream=downstream)
        with ended(server):
            server.phase("streaming")
            yield upstream, server


def resident(server: Server) -> int:
    """The process's memory, in MB."""
    status = Path(f"/proc/{server.popen.pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024


def arrivals(server: Server) -> dict[str, Any]:
    return dict(json.loads(get(f"{server.page}/health")[1])["arrivals"])


def errors(server: Server, code: int) -> float:
    line = f'alpaca_websocket_client_errors_total{{code="{code}",feed="iex"}} '
    text = get(f"{server.page}/metrics")[1]
    return next((float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)), 0.0)


class Neighbour:
    """A client that behaves, beside all that."""

    def __init__(self, server: Server, number: int = 1, symbol: str = "GOOD") -> None:
        self._symbol = symbol
        self._open = contextlib.ExitStack()
        self.connection: ClientConnection = self._open.enter_context(connect(server.url, open_timeout=PATIENCE))
        self.ask(action="auth", key=f"key-{number}", secret=f"secret-{number}")
        self.ask(action="subscribe", trades=[symbol])

    def ask(self, **asked: Any) -> dict[str, Any]:
        self.connection.send(json.dumps(asked))
        while True:
            for item in json.loads(self.connection.recv(PATIENCE)):
                if item.get("msg") != "connected" and item["T"] in ("success", "error", "subscription"):
                    return dict(item)

    def gets(self, upstream: StandIn, number: int) -> bool:
        """Whether a new trade reaches it."""
        wait_for(lambda: self._symbol in upstream.subscribed("trades"), "its subscription to reach upstream")
        upstream.control("send", messages=[{"T": "t", "S": self._symbol, "i": number, "p": 1}])
        while not any(item.get("i") == number for item in json.loads(self.connection.recv(PATIENCE))):
            pass
        return True

    def close(self) -> None:
        self._open.close()
