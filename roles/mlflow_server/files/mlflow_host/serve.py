# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The unit's main process: starts MLflow, and tells systemd that it serves and still answers.

MLflow knows nothing of systemd. While its /health answers, this process says so; when it does not for WatchdogSec,
systemd ends the whole group and starts it again. A database that is away is no reason for that: MLflow finds it again
by itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from types import FrameType

from .settings import Secret, Settings, database_uri, server_environment

_LOOK_SECONDS = 2.0
_ANSWER_SECONDS = 10


def notify(message: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.connect("\0" + address[1:] if address.startswith("@") else address)
        told.send(message.encode())


def answers(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"http://127.0.0.1:{port}/health", timeout=_ANSWER_SECONDS
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def command(settings: Settings, secret: Secret) -> list[str]:
    origins = ",".join(f"https://{name}" for name in settings.names)
    return [
        sys.executable, "-B", "-m", "mlflow", "server",
        "--backend-store-uri", database_uri(settings, secret),
        "--artifacts-destination", settings.artifacts,
        "--app-name", "basic-auth",
        "--host", "127.0.0.1",
        "--port", str(settings.port),
        "--workers", str(settings.workers),
        "--allowed-hosts", ",".join(settings.names),
        "--cors-allowed-origins", origins,
        "--uvicorn-opts", "--no-access-log",  # nginx has one, with addresses and names
    ]  # fmt: skip


def serve(settings: Settings) -> int:
    """Returns the exit status; a server that ends by itself is a failure."""
    secret = Secret.read(os.environ)
    environment = server_environment(settings, secret, os.environ["RUNTIME_DIRECTORY"], os.environ)
    # Everything that loads MLflow is a process of its own: this one stays small and cannot hang with it. Only this one
    # may talk to systemd, so the others do not get its socket.
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        environment.pop(name, None)
    stopping = threading.Event()
    running: list[subprocess.Popen[bytes]] = []

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        notify("STOPPING=1")
        for each in running:
            each.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    notify("STATUS=Preparing the database")
    first = [sys.executable, "-I", "-B", *_itself(), "prepare"]
    if prepared := _run(first, environment, running, lambda: None):
        return 0 if stopping.is_set() else prepared
    notify("STATUS=Starting MLflow")
    ended = _run(command(settings, secret), environment, running, _watch(settings.port))
    return 0 if stopping.is_set() else ended or 1


def _itself() -> list[str]:
    """How Python is told to run this program, as in the script `algo-mlflow`."""
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return ["-c", f"import sys; sys.path.insert(0, {home!r}); from mlflow_host.cli import main; sys.exit(main())"]


def _watch(port: int) -> Callable[[], None]:
    ready = False

    def look() -> None:
        nonlocal ready
        if answers(port):
            notify("WATCHDOG=1" if ready else "READY=1\nSTATUS=Serving\nWATCHDOG=1")
            ready = True

    return look


def _run(
    arguments: list[str], environment: dict[str, str], running: list[subprocess.Popen[bytes]], look: Callable[[], None]
) -> int:
    """Run a process to its end, and look from time to time."""
    child = subprocess.Popen(arguments, env=environment)
    running[:] = [child]
    try:
        while True:
            try:
                return child.wait(timeout=_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                look()
    finally:
        running.clear()
