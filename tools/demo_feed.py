"""Shows the market-data server at work: a stand-in for Alpaca, the server, and three alpaca-py clients as they are.

    demo_feed.py                 until Ctrl-C
    demo_feed.py --seconds 20    that long

Everything runs on loopback and in processes that end with this one, even if it is killed; what the server stores lies
below .cache until then. Ends with 0 if every client received what it had asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
SERVICE = ROOT / "services" / "alpaca_websocket"
# Each is a process with an unmodified alpaca_py.StockDataStream: name → what it subscribes.
CLIENTS: dict[str, dict[str, list[str]]] = {
    "one stock's trades": {"trades": ["AAPL"]},
    "two stocks' quotes": {"quotes": ["GOOG", "IBM"]},
    "every bar": {"bars": ["*"], "updated_bars": ["*"], "daily_bars": ["*"]},
}
_PATIENCE = 60.0  # seconds; starting takes two on a quiet machine


class Demo:
    """The processes, and what the clients have said."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.received: dict[str, Counter[str]] = {name: Counter() for name in CLIENTS}
        self.latest: dict[str, str] = {}
        self._processes: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self) -> str:
        """Starts everything in order; returns the status page's address."""
        from alpaca_websocket.downstream import auth
        from standin import server as beside

        self._spawn("standin", "--port", "0", "--rate", "4")
        alpaca = self._told("stream")
        tokens = {name: auth.make(name) for name in CLIENTS}
        settings = beside.write(self.work, alpaca, [table for _given, table in tokens.values()])
        self._spawn("alpaca_websocket", "run", str(settings))
        ports = self._told("downstream_port")
        url = f"ws://127.0.0.1:{ports['downstream_port']}/v2/iex"
        for name, (given, _table) in tokens.items():
            key, secret = (line.split()[1] for line in given.splitlines())
            wanted = json.dumps({"url": url, "key": key, "secret": secret, "subscribe": CLIENTS[name]})
            client = self._spawn("--client", stdout=subprocess.PIPE)
            assert client.stdin
            assert client.stdout
            client.stdin.write(wanted + "\n")
            client.stdin.close()
            threading.Thread(target=self._listen, args=(name, client.stdout), daemon=True).start()
        return f"http://127.0.0.1:{ports['observe_port']}/"

    def satisfied(self) -> bool:
        """Whether every client has received something of each of its channels but the rare ones."""
        rare = {"updated_bars"}
        return all(self.received[name].keys() >= wanted.keys() - rare for name, wanted in CLIENTS.items())

    def ended(self) -> str:
        """The name of a process that should still be running."""
        return next((name for name, process in self._processes if process.poll() is not None), "")

    def stop(self) -> None:
        """In reverse order: the clients say good-bye, the server stores the rest."""
        for _name, process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, *command: str, stdout: int | None = None) -> subprocess.Popen[str]:
        import lifeline

        paths = [str(SERVICE / part) for part in ("src", "tests")] + [os.environ.get("PYTHONPATH", "")]
        with self._log(len(self._processes)).open("w") as log:
            process: subprocess.Popen[str] = lifeline.spawn(
                *([__file__, *command] if command[0] == "--client" else ["-m", *command]),
                stdin=subprocess.PIPE,
                stdout=stdout or log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C is for us; we end them in order
            )
        self._processes.append((command[0].removeprefix("--"), process))
        return process

    def _log(self, number: int) -> Path:
        return self.work / f"{number}.log"

    def _told(self, field: str) -> dict[str, Any]:
        """The first object with this field in the log of the process that was started last.

        Raises SystemExit when it ends instead, or has not said it in time; then with where each of its threads stands.
        """
        (name, process), log = self._processes[-1], self._log(len(self._processes) - 1)
        deadline = time.monotonic() + _PATIENCE
        while True:
            ended, late = process.poll() is not None, time.monotonic() > deadline
            for line in log.read_text().splitlines():
                with contextlib.suppress(ValueError):
                    if field in (told := json.loads(line)):
                        return dict(told)
            if late and not ended:
                process.send_signal(signal.SIGQUIT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            if ended or late:
                problem = "ended while it started" if ended else f"did not start within {_PATIENCE:.0f} s"
                raise SystemExit(f"{name} {problem}:\n{log.read_text()[-4000:]}")
            time.sleep(0.02)

    def _listen(self, name: str, lines: IO[str]) -> None:
        for line in lines:
            channel, text = line.rstrip("\n").split("\t", 1)
            self.received[name][channel] += 1
            self.latest[name] = text


def client() -> None:
    """One client: what it receives, a line each."""
    from alpaca.data.live import StockDataStream

    wanted: dict[str, Any] = json.loads(sys.stdin.readline())
    stream = StockDataStream(wanted["key"], wanted["secret"], url_override=wanted["url"])

    def handler(channel: str) -> Any:
        async def handle(item: Any) -> None:
            at = item.timestamp.strftime("%H:%M:%S.%f")[:-3]
            match channel:
                case "trades":
                    text = f"{item.symbol} {item.size:g} at {item.price}"
                case "quotes":
                    text = f"{item.symbol} {item.bid_price} / {item.ask_price}"
                case _:
                    text = f"{item.symbol} open {item.open} high {item.high} low {item.low} close {item.close}"
            print(f"{channel}\t{at} {text}", flush=True)

        return handle

    for channel, symbols in wanted["subscribe"].items():
        getattr(stream, f"subscribe_{channel}")(handler(channel), *symbols)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    stream.run()


@contextlib.contextmanager
def _work() -> Iterator[Path]:
    """A folder that is ours as long as we live; what one that was killed has left is deleted."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    for left in cache.glob("demo-feed-*"):
        with contextlib.suppress(OSError):  # somebody else's demonstration is running
            os.close(_lock(left))
            shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix="starting-demo-feed-", dir=cache))
    lock = _lock(made)
    work = made.rename(cache / made.name.removeprefix("starting-"))  # nobody sees it before it is locked
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(lock)


def _lock(folder: Path) -> int:
    """Held until it is closed or this process ends. Raises OSError when it is another's."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _show(demo: Demo, seconds: float) -> None:
    print(f"\nafter {seconds:.0f} s")
    for name, counts in demo.received.items():
        what = ", ".join(f"{count} {channel.replace('_', ' ')}" for channel, count in counts.items())
        print(f"  {name:20} {what or 'nothing yet'}")
        if name in demo.latest:
            print(f"  {'':20} last: {demo.latest[name]}")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0, help="how long; 0: until Ctrl-C")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        client()
        return 0
    sys.path[:0] = [str(SERVICE / "src"), str(SERVICE / "tests")]
    # Ends everything in order, whether it is Ctrl-C or somebody's kill.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _work() as work:
        demo = Demo(work)
        try:
            print("Starting a stand-in for Alpaca, the server, and three alpaca-py clients ...", flush=True)
            page = demo.start()
            print(f"\nStatus page: {page}    (Ctrl-C ends it all)", flush=True)
            began = time.monotonic()
            # The first that a client receives may take a while on a busy machine: not counted.
            while not demo.satisfied() and time.monotonic() - began < _PATIENCE and not demo.ended():
                time.sleep(0.1)
            began = time.monotonic()
            while not demo.ended() and (not args.seconds or time.monotonic() - began < args.seconds):
                time.sleep(min(2.0, args.seconds or 2.0))
                _show(demo, time.monotonic() - began)
        except KeyboardInterrupt:
            print("\nEnding.")
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                ended = demo.ended()
                demo.stop()
        if ended:
            print(f"{ended} exited unexpectedly.", file=sys.stderr)
        return 0 if demo.satisfied() and not ended else 1


if __name__ == "__main__":
    sys.exit(main())
