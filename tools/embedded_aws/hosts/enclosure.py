"""The namespaces that all hosts of one server live in, with a life that ends with the server's.

A keeper starts process 1 of a new PID, mount and network namespace. When the server ends, however it ends, the pipe
between them closes, process 1 exits, and the kernel ends every process and drops every mount, interface, rule and
setting in there. The keeper then deletes the files and the control groups.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

METADATA = "169.254.169.254"
ENDPOINT = "169.254.170.1"
ENDPOINT_PORT = 4566
NAME_SERVER = "169.254.169.253"
OUTSIDE_NAME_SERVER = "10.0.2.3"  # slirp4netns's way to the machine's resolver
_CLONE_NEWNET = 0x40000000
_KEEPER = Path(__file__).with_name("keeper.py")


class EnclosureError(Exception):
    """The namespaces, or a command in them, failed."""


class Enclosure:
    """Namespaces of one server.

    :param directory: holds everything that the hosts write; deleted at the end
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cgroup = "embedded-aws-" + hashlib.sha256(str(directory).encode()).hexdigest()[:12]
        self._keeper: subprocess.Popen[bytes] | None = None
        self._init = 0

    def open(self) -> None:
        """Make the namespaces; returns when they are ready.

        :raises EnclosureError: with the reason
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        keeper = subprocess.Popen(
            [sys.executable, "-I", str(_KEEPER), str(self.directory), self.cgroup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.directory.parent / "hosts.log").open("wb"),
            start_new_session=True,
            cwd="/",
        )
        assert keeper.stdout is not None
        told = keeper.stdout.readline().split()
        if not told:
            log = (self.directory.parent / "hosts.log").read_text(errors="replace").strip()
            raise EnclosureError(f"The namespaces for hosts could not be made: {log.splitlines()[-1] if log else '-'}")
        self._keeper, self._init = keeper, int(told[0])

    def close(self) -> None:
        """End everything in there, and wait for it."""
        if self._keeper is not None and self._keeper.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._keeper.stdin.close()
            self._keeper.wait()
            self._keeper = None

    @property
    def files(self) -> Path:
        """The root directory as processes in there see it."""
        return Path(f"/proc/{self._init}/root")

    @property
    def network(self) -> Path:
        """The network namespace's file."""
        return Path(f"/proc/{self._init}/ns/net")

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command in the namespaces."""
        return ["nsenter", "-t", str(self._init), "--pid", "--mount", "--net", "--", *command]

    def run(self, *command: str, timeout: float = 60, given: str | None = None) -> str:
        """Run a command in the namespaces; returns what it printed.

        :raises EnclosureError: if it fails, or takes longer
        """
        limited = self.command("timeout", "--kill-after=5", str(timeout), *command)
        done = subprocess.run(
            limited,
            capture_output=True,
            text=True,
            errors="replace",
            env=self.environment(),
            input=given,
            stdin=None if given is not None else subprocess.DEVNULL,
        )
        if done.returncode:
            why = f"no end within {timeout:g} s" if done.returncode in (124, 137) else done.stderr.strip()[-600:]
            raise EnclosureError(f"{_brief(command)}: {why or f'exit status {done.returncode}'}")
        return done.stdout

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in the namespaces and read what it prints."""
        return subprocess.Popen(
            self.command(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment(),
        )

    def listen(self, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A socket of this process that is bound in the network namespace."""
        made: list[socket.socket | OSError] = []

        def work() -> None:
            try:
                # Only this thread moves, and it ends here.
                libc = ctypes.CDLL(None, use_errno=True)
                namespace = os.open(self.network, os.O_RDONLY | os.O_CLOEXEC)
                failed = libc.setns(namespace, _CLONE_NEWNET)
                os.close(namespace)
                if failed:
                    raise OSError(ctypes.get_errno(), "setns")
                made.append(socket.socket(socket.AF_INET, kind))
                made[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # type: ignore[union-attr]
                made[0].bind((address, port))  # type: ignore[union-attr]
            except OSError as error:
                made[:] = [error]

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise EnclosureError(f"No socket at {address}:{port} for the hosts: {made[0]}") from made[0]
        return made[0]

    def environment(self) -> dict[str, str]:
        """For podman: its settings, and nothing of the caller's."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.directory),
            "CONTAINERS_CONF": str(self.directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"),
        }


def _brief(command: Sequence[str]) -> str:
    words = [word for word in command if not word.startswith("-")]
    return " ".join(words[:3])
