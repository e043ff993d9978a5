# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes for end-to-end tests: the stand-in for Alpaca, and the server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import lifeline

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 90.0  # seconds; only a machine in trouble takes that long
T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """Asks until the answer is true, and returns it; fails saying `what` was waited for, and the last answer."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:.0f} s for {what}; the last answer was {answer!r}")
        time.sleep(0.02)


@contextlib.contextmanager
def s3_server(bucket: str, region: str = "us-east-1") -> Iterator[str]:
    """The URL of a real S3 server with one empty bucket. Servers of one process share what they keep: it is emptied."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
        where: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        given = where if region != "us-east-1" else {}
        boto3.client("s3", region_name=region, endpoint_url=endpoint).create_bucket(Bucket=bucket, **given)
        yield endpoint
    finally:
        server.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def alive(pid: int) -> bool:
    """Whether it runs; one that waits to be reaped does not."""
    return state_of(pid) not in ("", "Z")


def state_of(pid: int) -> str:
    """The letter by which ps tells what it does; empty for none."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()[:1]


def descendants(pid: int) -> list[int]:
    """All that it has started and that still runs, and what that has started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = {pid}
    while more := {child for child, parent in pairs if parent in found} - found:
        found |= more
    return sorted(found - {pid})


class Process:
    """A Python process whose lines of JSON on one stream are kept."""

    def __init__(self, *arguments: str, stream: str, **environment: str) -> None:
        paths = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests")))
        env = os.environ | {"PYTHONPATH": paths, "AWS_EC2_METADATA_DISABLED": "true"} | environment
        other = "stdout" if stream == "stderr" else "stderr"
        pipes: dict[str, Any] = {stream: subprocess.PIPE, other: None if other == "stderr" else subprocess.DEVNULL}
        self.popen = lifeline.spawn(*arguments, env=env, **pipes)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(getattr(self.popen, stream),), daemon=True)
        self._reader.start()

    def _read(self, pipe: Any) -> None:
        for line in pipe:
            self.lines.append(line.rstrip("\n"))

    def said(self) -> list[dict[str, Any]]:
        """The objects that it wrote so far."""
        found = []
        for line in list(self.lines):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def expect(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The first object of this kind; fails when the process ends instead."""

        def look() -> dict[str, Any] | None:
            ended = self.popen.poll() is not None
            found = next((item for item in self.said() if wanted(item)), None)
            if found is None and ended:
                self._reader.join(5)
                raise AssertionError(
                    f"ended with {self.popen.returncode} before {what}:\n" + "\n".join(self.lines[-30:])
                )
            return found

        found = wait_for(look, what)
        assert found is not None
        return found

    def kill(self) -> None:
        """As power loss would."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """Gracefully; its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("it did not stop:\n" + "\n".join(self.lines[-30:])) from None


class StandIn(Process):
    """Alpaca, as far as the tests go. `rate=0` halts the market; `control("step", times=3)` moves it."""

    def __init__(self, *arguments: str, rate: float = 0, port: int = 0) -> None:
        super().__init__(
            "-m", "standin", "--rate", str(rate), "--port", str(port), "--steps", "3", *arguments, stream="stdout"
        )
        said = self.expect(lambda item: "stream" in item, "the stand-in's addresses")
        self.stream, self.rest, self.address = said["stream"], said["rest"], said["control"]
        self.key, self.secret = said["key"], said["secret"]

    def control(self, action: str, **asked: Any) -> dict[str, Any]:
        request = urllib.request.Request(f"{self.address}/{action}", json.dumps(asked).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return dict(json.loads(answer.read()))

    def state(self) -> dict[str, Any]:
        return dict(json.loads(get(f"{self.address}/state")[1]))

    def subscribed(self, channel: str, path: str = "/v2/iex") -> list[str]:
        """What the one authenticated connection at this path is subscribed to."""
        for connection in self.state()["connections"]:
            if connection["authenticated"] and connection["path"] == path:
                return list(connection["subscriptions"].get(channel, []))
        return []


# What most tests want of the upstream side: quick to come back, and silence judged only where a test asks for it.
UPSTREAM = {
    "calendar": "24/7", "backoff_seconds": 0.05, "backoff_max_seconds": 0.2, "half_open_seconds": 0.3,
    "stable_seconds": 0.5, "linger_seconds": 0.1, "reply_timeout": 30.0, "connect_timeout": 30.0,
}  # fmt: skip


def toml(tables: dict[str, Any], prefix: str = "") -> str:
    """Nested dicts of strings, numbers, booleans, lists and dicts as TOML."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in tables.items() if not isinstance(value, dict)]
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += [f"[{prefix}{key}]", toml(value, f"{prefix}{key}.")]
    return "\n".join(lines)


PATHS = {
    "iex": "/v2/iex", "sip": "/v2/sip", "crypto": "/v1beta3/crypto/us", "opra": "/v1beta1/opra",
    "news": "/v1beta1/news", "trade_updates": "/stream",
}  # fmt: skip
CHANNELS = [
    "trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "corrections", "cancelErrors",
    "orderbooks", "news", "trade_updates",
]  # fmt: skip


class Server(Process):
    """The server itself, with the stand-in as its upstream. Tables given as keywords replace single settings.

    :param upstreams: one stand-in, or several by feed; `upstream` may then have a table for each of them
    """

    def __init__(
        self, directory: Path, upstreams: StandIn | dict[str, StandIn], *, clients: int = 3, **tables: dict[str, Any]
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        tokens = [
            f'[[client]]\nname = "client-{n}"\nkey = "key-{n}"\nconnections = 50\nchannels = {json.dumps(CHANNELS)}\n'
            f'secret_sha256 = "{hashlib.sha256(f"secret-{n}".encode()).hexdigest()}"\n'
            for n in range(clients)
        ]
        (directory / "tokens.toml").write_text("\n".join(tokens))
        given = tables.get("upstream", {})
        settings = {
            "downstream": {"port": 0, "tokens_file": str(directory / "tokens.toml")} | tables.get("downstream", {}),
            "observe": {"port": 0} | tables.get("observe", {}),
            "store": {"directory": str(directory / "store"), "min_free_bytes": 1 << 20} | tables.get("store", {}),
        }
        if "lease" in tables:
            settings["lease"] = tables["lease"]
        text = toml(settings)
        if isinstance(upstreams, dict):
            for name, standin in upstreams.items():
                table = _upstream(directory, standin, given.get(name, {}), name)
                text += "\n[[upstream]]\n" + toml(table, "upstream.")
        else:
            text += "\n" + toml({"upstream": _upstream(directory, upstreams, given)})
        path = directory / "settings.toml"
        path.write_text(text)
        super().__init__("-m", "alpaca_websocket", "run", str(path), stream="stderr")
        ready = self.expect(lambda item: item.get("message") == "ready", "that it is ready")
        address = f"ws://127.0.0.1:{ready['downstream_port']}"
        self.urls: dict[str, str] = {name: address + path for name, path in ready["feeds"].items()}
        self.url = next(iter(self.urls.values()))
        self.page = f"http://127.0.0.1:{ready['observe_port']}"

    def health(self) -> dict[str, Any]:
        return dict(json.loads(get(f"{self.page}/health")[1]))

    def status(self) -> dict[str, Any]:
        return dict(json.loads(get(f"{self.page}/status.json")[1]))

    def phase(self, wanted: str) -> dict[str, Any]:
        """Waits until the upstream connection is in this phase."""
        return wait_for(
            lambda: (health := self.health())["feed"]["phase"] == wanted and health, f"the feed to be {wanted}"
        )

    def alive(self) -> bool:
        return self.popen.poll() is None and get(f"{self.page}/health")[0] in (200, 503)


def _upstream(directory: Path, standin: StandIn, given: dict[str, Any], name: str = "") -> dict[str, Any]:
    keys = directory / f"upstream{name}.json"
    keys.write_text(json.dumps({"key_id": standin.key, "secret_key": standin.secret}))
    given = dict(given)
    backfill = {"url": standin.rest, "settle_seconds": 0.0} | given.pop("backfill", {})
    url = standin.stream.replace("/v2/iex", PATHS[name]) if name else standin.stream
    return UPSTREAM | {"url": url, "credentials_file": str(keys)} | given | {"backfill": backfill}


@contextlib.contextmanager
def ended(*processes: Process) -> Iterator[None]:
    """Kills what is left of them in the end."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
