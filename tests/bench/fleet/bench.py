# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times a fleet's life on the embedded AWS: ours, bare boto3, Terraform, and a loop of ec2_instance.

python tests/bench/fleet/bench.py --sizes 10,100 --peers boto3,terraform,ec2_instance
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))

from contestants import CONTESTANTS, PHASES, Contestant, Measured, StartUp, World

OURS = ("model_fleet", "engine")
TITLES = {"create": "create", "again": "second run", "change": "1 in 100 changed", "terminate": "terminate"}
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http(method: str, url: str) -> Any:
    with _OPENER.open(urllib.request.Request(url, method=method), timeout=900) as answer:
        text = answer.read()
    return json.loads(text) if text.startswith((b"[", b"{")) else None


@contextmanager
def embedded_aws(state: Path) -> Iterator[str]:
    """The same server that the demo and the tests use; it ends with this process."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "embedded_aws"), "serve", "--state", str(state), "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert server.stdin
    assert server.stdout
    said = server.stdout.readline()
    if not said:
        raise SystemExit(f"The embedded AWS did not start:\n{(state / 'server.log').read_text()}")
    try:
        yield f"http://127.0.0.1:{json.loads(said)['port']}"
    finally:
        server.stdin.close()
        server.wait(timeout=60)


def fresh_world(endpoint: str, work: Path, plugin_dir: str) -> World:
    http("POST", f"{endpoint}/moto-api/reset")
    # In a process of its own: a child's peak memory is never reported below its parent's.
    command = [sys.executable, str(HERE / "scripts" / "network.py"), endpoint]
    found = json.loads(subprocess.run(command, check=True, text=True, capture_output=True).stdout)
    image, subnets = found["image"], found["subnets"]
    return World(endpoint, image, subnets, work, plugin_dir)


def race(kind: type[Contestant], world: World, count: int) -> dict[str, Any]:
    """All phases of one contestant at one size."""
    contestant = kind(world, count)
    phases: dict[str, Any] = {}
    for phase in PHASES:
        http("DELETE", f"{world.endpoint}/_algo/calls")
        measured: Measured = contestant.run(phase)
        calls = Counter(call["operation"] for call in http("GET", f"{world.endpoint}/_algo/calls"))
        phases[phase] = {**asdict(measured), "calls": dict(sorted(calls.items())), "requests": sum(calls.values())}
        say(
            f"{kind.name:>16} {count:>5} {TITLES[phase]:<18}{measured.seconds:8.1f} s {measured.cpu_seconds:8.1f} s CPU"
            f"{phases[phase]['requests']:7d} calls{measured.peak_mib:7.0f} MiB"
        )
    return {"name": kind.name, "models": count, "phases": phases}


def table(rows: Sequence[dict[str, Any]], start_up: dict[int, float]) -> list[str]:
    """Markdown: seconds and calls per phase, and how many times bare boto3 that is."""
    head = ["models", "contestant", *(f"{TITLES[phase]} s (calls)" for phase in PHASES), "create ÷ boto3", "peak MiB"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    bare = {row["models"]: row["phases"]["create"]["seconds"] for row in rows if row["name"] == "boto3"}
    for row in sorted(rows, key=lambda item: (item["models"], list(CONTESTANTS).index(item["name"]))):
        phases = row["phases"]
        cells = [f"{phases[phase]['seconds']:.1f} ({phases[phase]['requests']})" for phase in PHASES]
        own = phases["create"]["seconds"] - (start_up.get(row["models"], 0.0) if row["name"] == "model_fleet" else 0.0)
        ratio = f"{own / bare[row['models']]:.2f}" if row["models"] in bare else "-"
        peak = max(phase["peak_mib"] for phase in phases.values())
        lines.append(f"| {row['models']} | {row['name']} | " + " | ".join(cells) + f" | {ratio} | {peak:.0f} |")
    return lines


def throttled_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| models | budget | simulated s | floor s | ratio | requests refused | RunInstances | CreateTags |",
        "|" + " --- |" * 8,
    ]
    words = {
        "alone": "all of it",
        "shared": "half eaten by another client",
        "unpaced": "all of it, pacing switched off",
    }
    for row in rows:
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else "-"
        calls = row["calls"]
        lines.append(
            f"| {row['models']} | {words[row['how']]} | {row['seconds']:.1f} | {row['floor']:.0f} | {ratio} "
            f"| {row['refused']} | {calls.get('RunInstances', 0)} | {calls.get('CreateTags', 0)} |"
        )
    return lines


def throttled(endpoint: str, world: World, sizes: Sequence[int]) -> list[dict[str, Any]]:
    cases = [[size, how] for size in sizes for how in ("alone", "shared", "unpaced")]
    settings = CONTESTANTS["engine"](world, 0).settings()
    given = json.dumps({"endpoint": endpoint, "settings": settings, "cases": cases})
    done = subprocess.run(
        [sys.executable, str(HERE / "throttled.py")],
        input=given,
        text=True,
        capture_output=True,
        env=world.env,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def say(text: str) -> None:
    print(text, flush=True)


def numbers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",") if part})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=numbers, default=[10, 100], help="numbers of models, for ours and boto3")
    parser.add_argument("--peers", default="boto3,terraform,ec2_instance", help="who else takes part")
    parser.add_argument("--peer-limit", type=int, default=100, help="largest size for terraform and ec2_instance")
    parser.add_argument("--throttled", type=numbers, default=[300], help="sizes of the throttled table; empty: none")
    parser.add_argument("--terraform-plugin-dir", default="", help="local mirror of Terraform providers")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench-fleet", help="where the results go")
    parser.add_argument("--picture", type=Path, help="where the picture goes; beside the results by default")
    arguments = parser.parse_args()
    peers = [name for name in arguments.peers.split(",") if name]
    unknown = set(peers) - set(CONTESTANTS)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    start_up: dict[int, float] = {}
    slow: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder, embedded_aws(Path(folder) / "aws") as endpoint:
        for count in arguments.sizes:
            world = fresh_world(endpoint, Path(folder), arguments.terraform_plugin_dir)
            start_up[count] = StartUp(world, count).run("create").seconds
            for name in [*OURS, *peers]:
                kind = CONTESTANTS[name]
                why = kind.missing()
                if name in ("terraform", "ec2_instance") and count > arguments.peer_limit:
                    why = f"above --peer-limit {arguments.peer_limit}"
                if why:
                    say(f"{name:>16} {count:>5} left out: {why}")
                    continue
                world = fresh_world(endpoint, Path(folder), arguments.terraform_plugin_dir)
                try:
                    rows.append(race(kind, world, count))
                except RuntimeError as exc:
                    if name in OURS:
                        raise
                    say(f"{name:>16} {count:>5} gave up: {exc}")
        if arguments.throttled:
            say("throttled, on a clock that does not wait …")
            world = fresh_world(endpoint, Path(folder), arguments.terraform_plugin_dir)
            slow = throttled(endpoint, world, arguments.throttled)
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()},
        "ansible_start_up_seconds": start_up,
        "contestants": rows,
        "throttled": slow,
    }
    (arguments.out / "fleet.json").write_text(json.dumps(result, indent=1) + "\n")
    text = "\n".join([*table(rows, start_up), "", *throttled_table(slow)])
    (arguments.out / "fleet.md").write_text(text + "\n")
    say("\n" + text)
    say("\nThe ratio sets Ansible's start-up aside: " + ", ".join(f"{n}: {s:.1f} s" for n, s in start_up.items()))
    draw(rows, arguments.picture or arguments.out / "fleet.svg")


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    try:
        from picture import growth
    except ImportError as exc:
        say(f"No picture: {exc}. It needs matplotlib, which is in the development requirements.")
        return
    growth(rows, path)
    say(f"Picture: {path}")


if __name__ == "__main__":
    main()
