"""Starts and stops this clone's server and finds it again. Needs nothing but Python, so that `make down` always works.

Everything it keeps is below `.local/aws` of the clone: `lock` (held by the server while it lives), `server.json` (pid,
start of the process, port), `port` (taken again next time if it is free), `endpoint` (the URL, for Ansible) and
`server.log`. The account itself lives in the server's memory: a server that ended has an empty account when it comes
back. Clones know nothing of each other, and no process is ever ended that does not prove to be this clone's server.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).parent
START_SECONDS = 120.0
STOP_SECONDS = 5.0
HOSTS_END_SECONDS = 600.0  # many hosts that have installed much, on a busy machine
PORT_TAKEN, ALREADY_THERE = 98, 97


class EmbeddedAwsError(Exception):
    """An error with what to do about it."""


@dataclass(frozen=True)
class Server:
    pid: int
    started: str
    port: int
    token: str
    lock: int  # inode of the lock: a copy of the clone has a copy of this record, but not of the inode
    hosts: bool = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class State:
    """The files of one clone's server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lock = directory / "lock"
        self.server = directory / "server.json"
        self.port = directory / "port"
        self.endpoint = directory / "endpoint"
        self.log = directory / "server.log"

    def read(self) -> Server | None:
        try:
            server = Server(**json.loads(self.server.read_text()))
            return server if server.lock == self.lock.stat().st_ino else None
        except (OSError, ValueError, TypeError):  # missing, or cut off by a crash
            return None

    def remembered_port(self) -> int:
        try:
            port = int(self.port.read_text())
        except (OSError, ValueError):
            return 0
        return port if 1024 <= port <= 65535 else 0

    def write(self, server: Server) -> None:
        """The server calls this itself, so that it is known even if whoever started it is gone."""
        replace(self.port, f"{server.port}\n")
        replace(self.endpoint, f"{server.endpoint}\n")
        replace(self.server, json.dumps(vars(server)) + "\n")

    def held(self) -> bool:
        """Whether a server lives: it holds the lock for as long as it does."""
        return held(self.lock)


def held(lock: Path) -> bool:
    """Whether a process holds a lock. No crash can leave it held."""
    try:
        with lock.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def replace(path: Path, text: str) -> None:
    """Writes a file at once, so that a reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def process_start(pid: int) -> str:
    """When the process began, as the system tells it; empty if there is none. Tells a process from a later namesake."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return told.stdout.strip()


def answers(server: Server, timeout: float = 3.0) -> bool:
    """Whether this very server answers at its port."""
    try:
        return bool(control(server.endpoint, "ping", timeout=timeout).get("token") == server.token)
    except (EmbeddedAwsError, OSError, ValueError):
        return False


def control(
    endpoint: str, name: str, method: str = "GET", given: dict[str, Any] | None = None, timeout: float | None = None
) -> Any:
    """Ask a server what AWS has no operation for; returns its answer.

    :raises EmbeddedAwsError: with what it says against it
    """
    body = json.dumps(given).encode() if given else None
    request = urllib.request.Request(f"{endpoint}/_algo/{name}", data=body, method=method)  # noqa: S310 - ours
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise EmbeddedAwsError(str(json.load(error).get("error", error))) from error


def start(state: State, with_hosts: bool = False) -> tuple[Server, bool]:
    """Makes sure that the server runs; returns it, and whether it had to be started.

    :param with_hosts: a server that is started makes hosts of instances
    """
    state.directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + START_SECONDS
    child: subprocess.Popen[bytes] | None = None
    port = state.remembered_port()
    while time.monotonic() < deadline:
        if state.held():
            server = state.read()
            if server and answers(server):
                return server, child is not None and child.pid == server.pid
            if child is None and server and _hangs(state, server):
                say(f"the embedded AWS (process {server.pid}) no longer responds: terminating it")
                _end(state, server, signal.SIGKILL)
                continue
        elif child is None:
            child = _spawn(state, port, with_hosts)
        if child is not None and child.poll() is not None:
            if child.returncode == PORT_TAKEN and port:
                say(f"port {port} is in use by another program: using a new one")
                port, child = 0, None
            elif child.returncode == ALREADY_THERE:  # another process started it at the same moment
                child = None
            elif not state.held():
                raise EmbeddedAwsError(f"the embedded AWS exited at once ({child.returncode}). {_log_tail(state)}")
        time.sleep(0.05)
    raise EmbeddedAwsError(f"the embedded AWS did not respond within {START_SECONDS:.0f} s. {_log_tail(state)}")


def stop(state: State) -> bool:
    """Ends the server; returns whether there was one."""
    was_there = False
    deadline = time.monotonic() + START_SECONDS
    while state.held():
        was_there = True
        server = state.read()
        if server and process_start(server.pid) == server.started:
            _end(state, server)
        elif time.monotonic() > deadline:
            raise EmbeddedAwsError(f"an unknown process holds {state.lock}: find it with fuser -v and stop it.")
        else:
            time.sleep(0.1)  # it is just starting, and about to say who it is
    _wait_for_hosts(state)
    for file in (state.server, state.endpoint):
        file.unlink(missing_ok=True)
    return was_there


def _wait_for_hosts(state: State) -> None:
    """Wait for the end of a server's hosts: their keeper holds this lock until nothing of them is left."""
    deadline = time.monotonic() + HOSTS_END_SECONDS
    with contextlib.suppress(FileNotFoundError), (state.directory / "hosts.lock").open("rb") as handle:
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return
            time.sleep(0.05)
        raise EmbeddedAwsError(f"hosts are still ending: see {state.directory / 'hosts.log'}.")


def environment(server: Server) -> dict[str, str]:
    """What AWS tools need to talk to this server and to nothing else. The credentials are words, not secrets."""
    return {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _spawn(state: State, port: int, with_hosts: bool) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PACKAGE), "serve", "--state", str(state.directory), "--port", str(port), "--keep"]
    command += ["--with-hosts"] * with_hosts
    with state.log.open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _hangs(state: State, server: Server) -> bool:
    """Whether the recorded process is this clone's server and stays silent, rather than being about to start."""
    if process_start(server.pid) != server.started:
        return False  # the record is an older server's; the one that holds the lock has not written its own yet
    return not any(answers(server) or state.read() != server for _ in range(3))


def _end(state: State, server: Server, *signals: signal.Signals) -> None:
    for number in signals or (signal.SIGTERM, signal.SIGKILL):
        if process_start(server.pid) != server.started:
            return
        try:
            os.kill(server.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_SECONDS
        while state.held() and process_start(server.pid) == server.started:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            return
    raise EmbeddedAwsError(f"process {server.pid}, the embedded AWS, cannot be stopped.")


def _log_tail(state: State) -> str:
    try:
        lines = state.log.read_text(errors="replace").splitlines()[-15:]
    except OSError:
        lines = []
    return f"The end of {state.log}:\n" + "\n".join(f"  {line}" for line in lines)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def new_record(port: int, lock: int, hosts: bool) -> Server:
    """The record that a server makes of itself."""
    return Server(os.getpid(), process_start(os.getpid()), port, secrets.token_hex(8), lock, hosts)
