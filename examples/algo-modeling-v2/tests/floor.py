"""What the trading code needs around it, as processes: Alpaca's two sides, our market-data server, systemd's socket."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from algo_modeling import artifact

EXAMPLE = Path(__file__).parents[1]
ROOT = EXAMPLE.parents[1]
SERVICE = ROOT / "services" / "alpaca_websocket"
PATIENCE = 120.0


def wait(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {PATIENCE:.0f} s")


def private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def post(control: str, name: str, **asked: Any) -> None:
    request = urllib.request.Request(f"{control}/{name}", json.dumps(asked).encode(), method="POST")  # noqa: S310  # a stand-in on loopback
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310  # a stand-in on loopback
        answer.read()


class Floor:
    """The market: one for all tests. Prices move only when a test says so."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._processes: list[subprocess.Popen[str]] = []
        self._bar = datetime.now(UTC)
        self._symbols = 0

    def start(self) -> None:
        sys.path[:0] = [str(SERVICE / "src"), str(SERVICE / "tests")]
        import lifeline
        from alpaca_websocket.downstream import auth
        from standin import server as beside

        self._lifeline = lifeline
        self.alpaca = self._spawn("-m", "standin", "--port", "0", "--rate", "0")
        given, table = auth.make("trader")
        self.token = [line.split()[1] for line in given.splitlines()]
        settings = beside.write(self.work, self.alpaca, [table + "connections = 20\n"])  # a token has one otherwise
        server = self._popen("-m", "alpaca_websocket", "run", str(settings), stderr=subprocess.PIPE)
        assert server.stderr
        said = []
        for line in server.stderr:
            said.append(line)
            if '"ready"' in line:
                self.feed_url = f"ws://127.0.0.1:{json.loads(line)['downstream_port']}/v2/iex"
                threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
                break
        else:
            raise AssertionError("the market-data server did not start:\n" + "".join(said))

    def broker(self, *arguments: str) -> dict[str, Any]:
        return self._spawn(str(ROOT / "tools" / "paper_broker"), *arguments)

    def symbol(self) -> str:
        """One that no other test trades: a model sees the bars of before."""
        self._symbols += 1
        return f"S{self._symbols}"

    def bars(self, symbol: str, *closes: float) -> None:
        """At Alpaca, at times that ascend and are recent."""
        for close in closes:
            self._bar = max(self._bar + timedelta(milliseconds=1), datetime.now(UTC))
            at = self._bar.isoformat().replace("+00:00", "Z")
            bar = {"T": "b", "S": symbol, "o": close, "h": close, "l": close, "c": close, "v": 1, "n": 1, "vw": close}
            post(self.alpaca["control"], "send", messages=[{**bar, "t": at}])

    def _popen(self, *command: str, stderr: int | None = None) -> subprocess.Popen[str]:
        paths = [str(SERVICE / part) for part in ("src", "tests")]
        process: subprocess.Popen[str] = self._lifeline.spawn(
            *command, stdout=subprocess.PIPE, stderr=stderr, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        )
        self._processes.append(process)
        return process

    def _spawn(self, *command: str) -> dict[str, Any]:
        process = self._popen(*command)
        assert process.stdout
        found: dict[str, Any] = json.loads(process.stdout.readline())
        return found

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def write_model(root: Path, name: str) -> Path:
    """An artifact as `train` writes it, that is long while the last close is above the average of two."""
    kind, symbol, last = name.split("/")
    model, outer, inner = last.split("-")[0], *(int(part) for part in last.split("_")[1::2])
    folder = root / "models" / name
    folder.mkdir(parents=True)
    body = {
        "format": artifact.MODEL_FORMAT, "type": kind, "symbol": symbol, "model": model,
        "outer": outer, "inner": inner, "parameters": {"fast": 1, "slow": 2, "band": 0.0},
    }  # fmt: skip
    files = {"model.json": artifact.canonical(body)}
    entries = [{"path": path, "size": len(data), "sha256": artifact.sha256(data)} for path, data in files.items()]
    files[artifact.MANIFEST] = artifact.canonical({"format": artifact.MANIFEST_FORMAT, "name": name, "files": entries})
    for path, data in files.items():
        (folder / path).write_bytes(data)
    return folder


class Desk:
    """One host's trading code: configuration, credentials, folders, and the process."""

    def __init__(self, floor: Floor, broker: dict[str, Any], root: Path, symbol: str, inner: int = 1) -> None:
        self.symbol, self.name = symbol, (name := f"momentum/{symbol}/sma-outer_0_inner_{inner}")
        self.floor, self.control, self.root = floor, broker["control"], root
        root.mkdir(exist_ok=True)
        self.model = write_model(root, name)
        self.config: dict[str, Any] = {
            "format": "algo-trading/config/1", "environment": "local",
            "model": {"name": name, "version": "v1", "path": str(self.model)}, "symbol": symbol,
            "feed_url": floor.feed_url, "broker": {"url": broker["rest"], "paper": True}, "credentials": "keys.json",
            "limits": {"max_position": 1000, "max_order": 1000, "max_daily_loss": 500},
            "flatten_on_drain": True, "drain_seconds": 60, "loop_seconds": 60, "bars": "minute",
            "state_dir": str(root / "state"), "run_dir": str(root / "run"),
        }  # fmt: skip
        key, secret = floor.token
        keys = {"key_id": "stand-in", "secret_key": "not-a-secret", "feed_key_id": key, "feed_secret_key": secret}
        private(root / "keys.json", json.dumps(keys))
        self.process: subprocess.Popen[str] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(root / "notify"))
        self.told: list[str] = []  # to systemd
        threading.Thread(target=self._listen, daemon=True).start()

    def command(self, *words: str) -> subprocess.Popen[str]:
        private(self.root / "config.json", json.dumps(self.config))
        environment = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLE), "ALGO_CONFIG": str(self.root / "config.json"),
            "CREDENTIALS_DIRECTORY": str(self.root), "NOTIFY_SOCKET": str(self.root / "notify"),
        }  # fmt: skip
        with (self.root / "log").open("a") as log:
            spawned: subprocess.Popen[str] = self.floor._lifeline.spawn(
                "-m", "algo_trader", *words, env=environment, stdout=subprocess.PIPE, stderr=log
            )
        return spawned

    def ask(self, *words: str) -> tuple[int, str]:
        process = self.command(*words)
        output, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, output

    def start(self) -> None:
        self.told.clear()
        self.process = process = self.command("run")
        wait(lambda: any(told.startswith("READY=1") for told in self.told) or process.poll() is not None, "READY=1")
        assert process.poll() is None, (self.root / "log").read_text()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.told.append(self._socket.recv(4096).decode())

    def end(self) -> int:
        assert self.process
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        self._socket.close()

    @property
    def health(self) -> dict[str, Any]:
        path = self.root / "run" / "health.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    def until(self, **wanted: Any) -> dict[str, Any]:
        """Waits for these values in health.json."""
        try:
            found = wait(lambda: (now := self.health).items() >= wanted.items() and now, f"{wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}; health: {self.health}; log: {(self.root / 'log').read_text()}") from None
        return dict(found)

    def fault(self, name: str, **asked: Any) -> None:
        post(self.control, name, **asked)

    def bars(self, *closes: float) -> None:
        self.floor.bars(self.symbol, *closes)

    def price(self, value: float) -> None:
        """At the broker and, as a bar, on the feed."""
        self.fault("price", symbol=self.symbol, price=value)
        self.bars(value)

    def rises(self, value: float = 100) -> None:
        self.bars(value - 1)
        self.price(value)

    @property
    def broker(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.control}/state", timeout=PATIENCE) as answer:  # noqa: S310  # likewise
            found: dict[str, Any] = json.load(answer)
        return found
