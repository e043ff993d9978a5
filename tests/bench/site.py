"""What an environment costs to plan, make, repeat and remove: seconds, CPU seconds and API calls.

    python tests/bench/site.py --models 12 100 --json build/bench-site.json

Runs the real site.yml with inventories/qa against an embedded AWS of its own, with as many small models as asked for.
Prints a table; asserts nothing. The machine should be idle.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
BUCKET = "algo-model-deploy"
PHASES = (
    ("plan, empty account", ["site.yml", "--check", "--diff"]),
    ("first run", ["site.yml"]),
    ("second run", ["site.yml"]),
    ("plan, built account", ["site.yml", "--check", "--diff"]),
    ("destroy", ["playbooks/destroy.yml", "-e", "algo_confirm=qa"]),
)


@contextmanager
def embedded_aws(state: Path) -> Iterator[str]:
    command = [sys.executable, str(ROOT / "tools" / "embedded_aws"), "serve", "--state", str(state), "--with-parent"]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
    finally:
        server.terminate()
        server.wait()


def call(endpoint: str, method: str, path: str) -> Any:
    request = urllib.request.Request(endpoint + path, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def environment(endpoint: str, home: Path) -> dict[str, str]:
    unwanted = ("AWS_", "ANSIBLE_", "BOTO_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return env | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_NOCOLOR": "1",
        "NO_PROXY": "127.0.0.1",
    }


def publish(endpoint: str, count: int) -> None:
    """Models of two files each, as the model repository publishes them."""
    import boto3

    s3 = boto3.client(
        "s3", region_name=REGION, endpoint_url=endpoint, aws_access_key_id="testing", aws_secret_access_key="testing"
    )
    s3.create_bucket(Bucket=BUCKET)
    for number in range(count):
        folder = f"models/momentum/SYM{number // 4}/sma-outer_{number % 4}_inner_0"
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/model.json", Body=f'{{"number": {number}}}'.encode())
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/metrics.json", Body=b"{}")


def measure(count: int, scratch: Path) -> list[dict[str, Any]]:
    rows = []
    with embedded_aws(scratch / "aws") as endpoint:
        publish(endpoint, count)
        env = environment(endpoint, scratch / "ansible")
        for phase, arguments in PHASES:
            call(endpoint, "DELETE", "/_algo/calls")
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            done = subprocess.run(
                ["ansible-playbook", "-i", "inventories/qa", *arguments],
                cwd=ROOT,
                env=env,
                capture_output=True,
                text=True,
            )
            seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            calls = call(endpoint, "GET", "/_algo/calls")
            if done.returncode:
                raise SystemExit(f"{phase} with {count} models failed:\n{done.stdout[-4000:]}")
            rows.append(
                {
                    "models": count,
                    "phase": phase,
                    "seconds": round(seconds, 1),
                    "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
                    "api_calls": len(calls),
                    "writing": sum(item["write"] for item in calls),
                }
            )
            print("{models:>6}  {phase:<20} {seconds:>7} s  {cpu_seconds:>7} s CPU  {api_calls:>5} calls  "
                  "{writing:>4} writing".format(**rows[-1]), flush=True)  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[12, 100])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for count in options.models:
        with tempfile.TemporaryDirectory() as scratch:
            rows += measure(count, Path(scratch))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
