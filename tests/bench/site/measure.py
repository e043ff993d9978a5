# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An embedded AWS for each contestant, and what a command takes there: seconds, CPU seconds, API calls, processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
REGION = "us-east-1"
_FOREIGN = ("AWS_", "ANSIBLE_", "BOTO_", "ALGO_", "EC2_", "PYTHON", "TF_")
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class CommandFailed(Exception):
    """A measured command failed."""


@dataclass(frozen=True)
class Measured:
    """What one command took. `processes` are it and all that Python started, None where another program did."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    calls: int
    writes: int
    operations: dict[str, int]
    processes: int | None


class Aws:
    """An embedded AWS of its own process."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        session: Any = boto3.session.Session()
        return session.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(proxies={}, read_timeout=900),
        )

    def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self._http("GET", "calls"))
        return found

    def forget_calls(self) -> None:
        self._http("DELETE", "calls")

    def stop_clock(self) -> None:
        """No schedule fires during a measurement, whatever the time of day."""
        self._http("PUT", "clock", {"rate": 0})

    def answer_after(self, seconds: float) -> None:
        """Each call takes so much longer from now on."""
        self._http("PUT", "interruptions", {"latency": seconds})

    def publish(self, bucket: str, count: int) -> None:
        """Models of two files each, as the model repository publishes them."""
        s3 = self.client("s3")
        s3.create_bucket(Bucket=bucket)
        for number in range(count):
            folder = f"models/momentum/SYM{number // 4}/sma-outer_{number % 4}_inner_0"
            s3.put_object(Bucket=bucket, Key=f"{folder}/model.json", Body=f'{{"number": {number}}}'.encode())
            s3.put_object(Bucket=bucket, Key=f"{folder}/metrics.json", Body=b"{}")

    def role_policies(self) -> dict[str, str]:
        """The inline policy of each role that has one, as JSON, by the role's name."""
        iam = self.client("iam")
        roles = [role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]]
        return {
            role: json.dumps(iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"])
            for role in roles
            for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
        }

    def _http(self, method: str, name: str, body: dict[str, Any] | None = None) -> bytes:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.endpoint}/_algo/{name}", data=data, method=method)
        with _OPENER.open(request, timeout=900) as answer:
            return bytes(answer.read())


@contextmanager
def embedded_aws(state: Path) -> Iterator[Aws]:
    """The server that the demo and the tests use, with an empty account. It ends with this process."""
    state.mkdir(parents=True)
    with (state / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "embedded_aws"), "serve", "--state", str(state), "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert server.stdin
    assert server.stdout
    try:
        said = server.stdout.readline()
        if not said:
            raise CommandFailed(f"The embedded AWS did not start:\n{(state / 'server.log').read_text()}")
        yield Aws(f"http://127.0.0.1:{json.loads(said)['port']}")
    finally:
        server.stdin.close()
        server.wait(timeout=60)
        server.stdout.close()


def environment(aws: Aws) -> dict[str, str]:
    """What a measured command may see: no one's own account or settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return env | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "LC_ALL": "C.UTF-8",
    }


def measure(
    aws: Aws, command: Sequence[str], log: Path, *, cwd: Path, env: dict[str, str], python: bool = False
) -> Measured:
    """Run a command to its end; its output goes to `log`.

    :param python: whether the command is a Python program, whose processes can be counted.
    :raises CommandFailed: if it fails, with the end of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    report, counted = log.with_suffix(".report"), log.with_suffix(".processes")
    for stale in (report, counted):
        stale.unlink(missing_ok=True)
    if python:
        counted.touch()
        env = env | {"PYTHONPATH": str(HERE / "counting"), "BENCH_PROCESSES": str(counted)}
    aws.forget_calls()
    with log.open("wb") as output:
        done = subprocess.run(
            [sys.executable, str(HERE / "reaper.py"), str(report), *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    calls = aws.calls()
    if done.returncode:
        text = log.read_text(errors="replace")[-4000:]
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{text}")
    took = json.loads(report.read_text())
    return Measured(
        seconds=round(took["seconds"], 2),
        cpu_seconds=round(took["cpu_seconds"], 2),
        peak_mib=round(took["peak_mib"], 1),
        calls=len(calls),
        writes=sum(call["write"] for call in calls),
        operations=dict(Counter(f"{call['service']}:{call['operation']}" for call in calls).most_common()),
        processes=Counter(counted.read_text().split()).total() if python else None,
    )
