"""The embedded AWS itself: moto's server on the loopback interface, with a record of every API call.

    GET    /_algo/calls     what was called, as JSON
    DELETE /_algo/calls     forget it
    GET    /_algo/ping      who answers here: {"server": "algo.trading", "token": …, "pid": …}
    *      /_algo/clock, /_algo/permissions, /_algo/commands, /_algo/hosts, /_algo/inside     see `control`
    *      /_algo/interruptions     see `interruptions`

moto's own control API (`/moto-api/reset` and others) is there as well. State lives in this process's memory:
when it ends, the account is empty again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from . import manager, moto_patches
from .acting import Acting
from .clock import Clock
from .commands import Commands
from .control import Control
from .event_sources import EventSources
from .functions import Functions
from .hosts.service import Hosts
from .hosts.way_in import WayIn
from .interruptions import Interruptions
from .permissions import Permissions
from .recording import Recorder
from .schedules import Schedules

HOST = "127.0.0.1"


def _settings(state: Path) -> None:
    """moto reads these when it is imported."""
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # roles attach AmazonSSMManagedInstanceCore
    os.environ.setdefault("MOTO_LAMBDA_DATA_DIR", str(state / "lambda"))  # else below the machine's /tmp
    os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "false")
    # moto itself asks boto3 for names now and then; it must never look for, or find, somebody's real account.
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",  # noqa: S106 - plainly no secret
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        os.environ.pop(name, None)


def _end_with_parent() -> None:
    """A server that a test started must not outlive it, however the test ends: our standard input closes then."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _lock(path: Path) -> bool:
    """Takes the lock that stands for "this clone's server lives"; the system lets go of it when we end."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(100):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:  # who looks whether a server lives shares the lock for a moment; only a server has it alone
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_UN)
        except BlockingIOError:
            break
        time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - spreads retries, keeps no secret
    os.close(handle)
    return False


def _end_with_directory(lock: Path, inode: int) -> None:
    """End when `.local` or the whole clone is deleted."""

    def watch() -> None:
        while True:
            time.sleep(2)
            try:
                if lock.stat().st_ino == inode:
                    continue
            except OSError:
                pass
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def serve(state: Path, port: int, *, with_parent: bool, keep: bool, with_hosts: bool = False) -> int:
    """Answer until the process is ended; returns an exit status where it can't begin.

    :param state: directory for what the server writes
    :param port: 0 picks a free one
    :param with_parent: exit when standard input closes
    :param keep: run as the server of the state directory
    :param with_hosts: instances are hosts (`hosts`)
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    if keep and not _lock(state / "lock"):
        return manager.ALREADY_THERE
    _settings(state)

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    moto_patches.apply()

    class Handler(MotoRequestHandler):
        # Werkzeug writes head and body apart; with Nagle's algorithm each answer would cost 40 ms.
        disable_nagle_algorithm = True

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    def log(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    moto = threading.RLock()
    clock = Clock()
    acting = Acting(moto, lambda: f"http://{HOST}:{server.port}")
    hosts = Hosts(state / "hosts", lambda *given: app(*given), moto, log) if with_hosts else None
    network = {"network": hosts.network} if hosts is not None else {}
    functions = Functions(state / "functions", clock, moto, acting, log, **network)
    schedules = Schedules(clock, moto, acting, log)
    event_sources = EventSources(clock, moto, acting, functions, log)
    permissions = Permissions(moto, log)
    commands = Commands(moto, agents=with_hosts)
    control = Control(clock, schedules, functions, event_sources, permissions, commands, hosts)
    interruptions = Interruptions()
    app = Recorder(
        DomainDispatcherApplication(create_backend_app),
        log,
        moto,
        handlers=[interruptions, permissions, functions, commands, schedules],
        controls={
            "clock": control.clock,
            "permissions": control.permissions,
            "commands": control.commands,
            "hosts": control.hosts,
            "inside": control.inside,
            "interruptions": interruptions.control,
        },
        on_reset=control.forget,
    )
    try:
        server = make_server(HOST, port, app, threaded=True, request_handler=Handler)
    except SystemExit:  # Werkzeug's way to say that the port is taken
        return manager.PORT_TAKEN
    os.environ["MOTO_PORT"] = str(server.port)
    if with_parent:
        _end_with_parent()
    if keep:
        lock = state / "lock"
        record = manager.new_record(server.port, lock.stat().st_ino, with_hosts)
        app.token = record.token
        manager.State(state).write(record)
        _end_with_directory(lock, record.lock)
    WayIn(state).close()  # an earlier server's
    if hosts is not None:
        hosts.start(f"http://{HOST}:{server.port}")
    print(json.dumps({"port": server.port, "pid": os.getpid()}), flush=True)
    server.serve_forever()
    return 0
