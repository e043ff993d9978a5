"""A stand-in for the trading code: it keeps the contract with the host, trades nothing, and fails on request.

A file in its state folder is a request: `refuse`, `hang`, `stubborn` (a drain that cannot be confirmed), `keeps` (a
drain that is confirmed, although a position is kept).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


def main() -> int:
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "--help":
        return 0
    config = json.loads(Path(os.environ["ALGO_CONFIG"]).read_text())
    return {"run": run, "drain": drain}[command](config, Path(config["run_dir"]), Path(config["state_dir"]))


def run(config: dict[str, Any], folder: Path, state: Path) -> int:
    def health(name: str, **more: Any) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        data = {"state": name, "last_loop": now, "model": config["model"]["name"], "positions": 1, "open_orders": 0}
        new = folder / "health.new"
        new.write_text(json.dumps({**data, "version": config["model"]["version"], "pid": os.getpid(), **more}))
        new.replace(folder / "health.json")

    keys = json.loads((Path(os.environ["CREDENTIALS_DIRECTORY"]) / config["credentials"]).read_text())
    if (
        (state / "refuse").exists()
        or keys["key_id"] != "test"
        or not Path(config["model"]["path"], "model.json").exists()
    ):
        health("refused", reason="asked to refuse")
        return 78
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    notify("READY=1")
    while True:
        if (state / "hang").exists():
            (state / "hang").unlink()
            time.sleep(3600)
        if asked and (state / "stubborn").exists():
            health("draining", reason="position not flat")
        elif asked:
            health("drained", positions=int((state / "keeps").exists() or not config["flatten_on_drain"]))
            return 0
        else:
            health("halted" if (folder / "halt").exists() else "trading")
        notify("WATCHDOG=1")
        time.sleep(0.1)


def drain(config: dict[str, Any], folder: Path, state: Path) -> int:
    """Ask the process, and wait for its answer."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        health = json.loads((folder / "health.json").read_text())
        if health["state"] == "drained":
            return 0
        try:
            os.kill(health["pid"], signal.SIGTERM)
        except ProcessLookupError:
            break
        time.sleep(0.2)
    print("position not flat", file=sys.stderr)
    return 1


def notify(text: str) -> None:
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(text.encode())
