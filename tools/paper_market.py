"""The market that the local environment's hosts trade on: a simulated Alpaca and a paper broker, for this clone only.

    paper_market.py start [--state DIRECTORY]     for an embedded AWS with hosts; a second start changes nothing
    paper_market.py status [--state DIRECTORY]    the account at the broker, as JSON

Both run in the hosts' own network and end with the embedded AWS, however it ends. Hosts reach them at fixed addresses
(inventories/local). The keys are made up here and put into the environment's secret. Below .local/market: keys.json,
account.json (orders, positions and cash survive a restart of the broker) and the logs.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "collections"))
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from embedded_aws.manager import control, held

TESTS = ROOT / "services" / "alpaca_websocket" / "tests"  # the simulated Alpaca is that of the server's own tests
# The embedded AWS's address inside the hosts' network; only they see it, so every clone has the same ports.
ADDRESS = "169.254.170.1"
DATA_PORT, BROKER_PORT = 4567, 4568
# Prices of real days, adjusted; each day is a minute bar. At first two come each second, so that every model has
# seen enough when its host is up; later one in five seconds, so that a person can follow.
_WARM_SECONDS, _LATER_STEPS = 720, 0.8
PACE = ("--rate", "8", "--steps", "4", "--adjusted", "--symbols", "AAPL,GOOG,IBM,MSFT", "--connections", "2")
OURS = Scope("algo-trading", "local")
SECRET = OURS.name("alpaca_websocket")
_START_SECONDS = 120


class Market:
    """The files and processes of one clone's market.

    :param aws: the state directory of its embedded AWS
    """

    def __init__(self, aws: Path) -> None:
        self.aws, self.directory = aws, aws.parent / "market"
        self.lock, self.ready, self.keys = (self.directory / name for name in ("lock", "ready", "keys.json"))

    def start(self) -> bool:
        """Returns whether it had to be started."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.keys.exists():
            made = {"key_id": f"PK{secrets.token_hex(9).upper()}", "secret_key": secrets.token_hex(20)}
            self.keys.touch(mode=0o600)
            self.keys.write_text(json.dumps(made))
        self._tell_secret(self.keys.read_text())
        if self.running() and self.ready.exists():
            return False
        self.ready.unlink(missing_ok=True)
        command = [*self._inside(), sys.executable, __file__, "serve", "--state", str(self.aws)]
        with (self.directory / "market.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                last = (self.directory / "market.log").read_text(errors="replace")[-1500:]
                raise SystemExit(f"The simulated market did not start:\n{last}")
            time.sleep(0.05)
        return True

    def running(self) -> bool:
        """Whether its process lives: it holds the lock for as long."""
        return held(self.lock)

    def serve(self) -> int:
        """Run both, until one ends: then the other ends too, and the next start begins anew."""
        sys.path.insert(0, str(TESTS))
        import lifeline

        _before_the_hosts()
        lock = self.lock.open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = {**os.environ, "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}
        at = ("--host", ADDRESS, "--keys", str(self.keys), "--port")
        feed = f"ws://{ADDRESS}:{DATA_PORT}/v2/iex"
        commands = (
            ("-m", "standin", *at, str(DATA_PORT), *PACE),
            (str(ROOT / "tools" / "paper_broker"), *at, str(BROKER_PORT), "--feed", feed, "--feed-keys",
             str(self.keys), "--state", str(self.directory / "account.json")),
        )  # fmt: skip
        processes = []
        for command in commands:
            process = lifeline.spawn(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env)
            assert process.stdout
            if not process.stdout.readline():
                return 1
            processes.append(process)
        self.ready.touch()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            calm = time.monotonic() + _WARM_SECONDS
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
                if time.monotonic() > calm:
                    calm = math.inf
                    _post(f"http://{ADDRESS}:{DATA_PORT}/control/rate", {"steps": _LATER_STEPS})
        finally:
            self.ready.unlink(missing_ok=True)
        return 1

    def status(self) -> dict[str, Any]:
        """What the broker has: orders, positions, prices, cash."""
        url = f"http://{ADDRESS}:{BROKER_PORT}/control/state"
        ask = f"import sys, urllib.request; sys.stdout.write(urllib.request.urlopen({url!r}).read().decode())"
        done = subprocess.run([*self._inside(), sys.executable, "-c", ask], capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    def _inside(self) -> list[str]:
        return list(control((self.aws / "endpoint").read_text().strip(), "inside"))

    def _tell_secret(self, keys: str) -> None:
        """Put the keys into the environment's secret, which a run adopts by its tags."""
        import boto3

        session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
        client = session.client("secretsmanager", endpoint_url=(self.aws / "endpoint").read_text().strip())
        try:
            if client.describe_secret(SecretId=SECRET).get("DeletedDate"):
                client.restore_secret(SecretId=SECRET)
        except client.exceptions.ResourceNotFoundException:
            # As a run creates it: empty. Keys are a later version, by which a run sees that there are some.
            tags = [
                {"Key": key, "Value": value}
                for key, value in (*OURS.tags("alpaca_websocket").items(), ("Name", SECRET))
            ]
            empty = json.dumps({"key_id": "", "secret_key": ""})
            client.create_secret(Name=SECRET, SecretString=empty, Tags=tags)
        if client.get_secret_value(SecretId=SECRET)["SecretString"] != keys:
            client.put_secret_value(SecretId=SECRET, SecretString=keys)


def _before_the_hosts() -> None:
    """Get the processor while a dozen hosts boot: an exchange is a machine of its own, and does not halt for them."""
    with contextlib.suppress(OSError):
        os.nice(-10)
    # Where the kernel shares the processor between sessions first, that counts within this one only.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-10")


def _post(url: str, asked: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(asked).encode(), method="POST")  # noqa: S310 - ours
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60):
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("start", "serve", "status"))
    parser.add_argument("--state", type=Path, default=ROOT / ".local" / "aws", help="of the embedded AWS")
    args = parser.parse_args()
    market = Market(args.state.absolute())
    if args.command == "serve":
        return market.serve()
    if args.command == "status":
        print(json.dumps(market.status(), indent=1))
        return 0
    print("market: " + ("started" if market.start() else "already running"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
