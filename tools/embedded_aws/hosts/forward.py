"""A port of this machine that leads to a port of a host, as SSM's port forwarding does on AWS."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_SECONDS = 10
_CHUNK = 65_536


class Forward:
    """Listens on loopback until it is closed. Needs root, as hosts do.

    :param network: the file of the hosts' network namespace
    :param target: address and port in there
    :param port: of this machine; 0 picks a free one
    :raises OSError: if the port is taken
    """

    def __init__(self, network: Path, target: tuple[str, int], port: int = 0) -> None:
        self._network, self._target = network, target
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]

    def serve(self) -> None:
        """Lead connections there, until `close`."""
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(connection,), daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _lead(self, connection: socket.socket) -> None:
        with connection:
            try:
                _enter(self._network)  # this thread only, which ends with the connection
                other = socket.create_connection(self._target, timeout=_SECONDS)
            except OSError:
                return
            other.settimeout(None)
            with other:
                back = threading.Thread(target=_copy, args=(other, connection), daemon=True)
                back.start()
                _copy(connection, other)
                back.join()


def _enter(network: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with network.open("rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
