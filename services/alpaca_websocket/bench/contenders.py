# SPDX-License-Identifier: GPL-3.0-or-later
"""The server, with and without its store, and what it is compared with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from functools import partial
from pathlib import Path

from rig import HERE, RELAY_CORE, Contender, as_usual, end, hear, spawn


def _relay(kind: str, source: int, _directory: Path) -> tuple[list[subprocess.Popen[str]], int]:
    process = spawn([str(HERE / "relays.py"), kind, str(source)], RELAY_CORE)
    try:
        return [process], int(hear(process)["port"])
    except BaseException:
        end(process)
        raise


def settings(source: int, directory: Path) -> Path:
    """The server's settings file: everything on, as in earnest, but for TLS."""
    keys = directory / "upstream.json"
    keys.write_text(json.dumps({"key_id": "bench", "secret_key": "bench"}))
    tokens = directory / "tokens.toml"
    digest = hashlib.sha256(b"bench").hexdigest()
    tokens.write_text(f'[[client]]\nname = "bench"\nkey = "bench"\nsecret_sha256 = "{digest}"\nconnections = 1000\n')
    path = directory / "settings.toml"
    path.write_text(
        f'[upstream]\nurl = "ws://127.0.0.1:{source}/v2/iex"\ncredentials_file = "{keys}"\ncalendar = "24/7"\n'
        'compression = false\n[upstream.backfill]\nsource = "none"\n'
        "[upstream.silence]\ntrades = 86400\nquotes = 86400\n"
        f'[downstream]\nport = 0\ntokens_file = "{tokens}"\n[observe]\nport = 0\n'
        f'[store]\ndirectory = "{directory / "store"}"\n'
    )
    return path


def _server(program: list[str], source: int, directory: Path) -> tuple[list[subprocess.Popen[str]], int]:
    process = spawn([*program, "run", str(settings(source, directory))], RELAY_CORE, listen="stderr")
    try:
        while "downstream_port" not in (said := hear(process)):
            pass
        # Its log goes on, and must not fill the pipe.
        threading.Thread(target=process.communicate, daemon=True).start()
        as_usual(process.pid)
        return [process], int(said["downstream_port"])
    except BaseException:
        end(process)
        raise


def _two_levels(source: int, directory: Path) -> tuple[list[subprocess.Popen[str]], int]:
    """A server that is the upstream of another; the clients are the second's."""
    started: list[subprocess.Popen[str]] = []
    for level in ("1", "2"):
        (directory / level).mkdir()
        try:
            processes, source = _server(["-m", "alpaca_websocket"], source, directory / level)
        except BaseException:
            for process in started:
                end(process)
            raise
        started = processes + started
    return started, source


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("server", "this server, everything on", "ws", partial(_server, ["-m", "alpaca_websocket"])),
        Contender("no-store", "this server, nothing stored", "ws", partial(_server, [str(HERE / "without_store.py")])),
        Contender("chain", "two levels of this server", "ws", _two_levels),
        Contender("broadcast", "websockets, broadcast()", "ws", partial(_relay, "broadcast")),
        Contender("floor", "bare TCP, coalesced", "arrays", partial(_relay, "floor")),
        Contender("echo", "the same, nothing decoded", "objects", partial(_relay, "echo")),
    )
}
