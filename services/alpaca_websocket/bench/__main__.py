# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server can do, beside what else there is: highest rates, latencies, memory, a soak.

    make bench-feed [ARGS='--clients 1 50 200 --only server floor --rounds 5 --soak 3600 --out build/bench-feed']
    make bench-feed ARGS='--busy core --clients 200'      with a neighbour that takes one of two cores

The relay runs on one core, its source and its clients on the other (but see --busy). Contenders take turns, in several
rounds, and each one's best counts: what else the machine does can only make it worse. All rounds are told as well.
Writes feed.json, feed.md, feed.svg and soak.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import picture
from contenders import CONTENDERS
from rig import NEIGHBOURS, PASS_P99_MS, Rig, Step, as_json, busy_core, highest, memory

LIGHT = 30_000  # deliveries per second
START = {"broadcast": 10_000}  # messages per second; 40,000 for the others


def _light(name: str, clients: int, each: int) -> Step:
    """The best of three at a light load: what else the machine does can only make it worse."""
    rig = Rig(CONTENDERS[name], clients, each)
    try:
        rate = LIGHT * 500 / (clients * each)
        steps = [rig.run(rate, 2.0) for _ in range(4)][1:]
        return min(steps, key=lambda step: step.p99_ms)
    finally:
        rig.close()


def _memory(each: int) -> dict[str, float]:
    """Bytes of the server with no traffic but the last second's, by number of clients."""
    found = {}
    for clients in (1, 200):
        rig = Rig(CONTENDERS["server"], clients, each)
        try:
            rig.run(10_000, 1.0)
            found[clients] = memory(rig.relay[0].pid)
        finally:
            rig.close()
    return {"base": found[1], "with_200": found[200], "per_client": (found[200] - found[1]) / 199}


def _soak(seconds: float, clients: int, each: int) -> list[dict[str, float]]:
    """Light load for so long; a sample every ten seconds."""
    rig = Rig(CONTENDERS["server"], clients, each)
    rate, samples, began = LIGHT * 500 / (clients * each), [], time.monotonic()
    try:
        while (at := time.monotonic() - began) < seconds:
            step = rig.run(rate, min(10.0, seconds))
            samples.append(
                {"at": round(at), "p50_ms": step.p50_ms, "p99_ms": step.p99_ms, "complete": step.complete,
                 "memory_mb": round(memory(rig.relay[0].pid) / 1e6, 2), "cpu": step.relay_cpu}
            )  # fmt: skip
    finally:
        rig.close()
    return samples


def _best(rounds: list[Step]) -> Step:
    return max(rounds, key=lambda step: (step.passed, step.deliveries))


def _ratios(rounds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """The server's deliveries by each other contender's: of their best rounds, and round by round."""
    found = {}
    for name, rates in rounds.items():
        if name != "server" and "server" in rounds and all(rates):
            each = sorted(mine / other for mine, other in zip(rounds["server"], rates, strict=True))
            best = max(rounds["server"]) / max(rates)
            found[name] = {"best": best, "lowest": each[0], "median": each[len(each) // 2], "highest": each[-1]}
    return found


def _table(results: dict[str, Any]) -> str:
    lines = [
        "| clients | contender | in/s | deliveries/s | p50 ms | p99 ms | p99.9 ms | relay's CPU |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, heading in (("highest", ""), ("light", ", light load")):
        for clients, found in results[part].items():
            for name, step in found.items():
                rates = f"{step['messages']:,.0f} | {step['deliveries']:,.0f}"
                lines.append(
                    f"| {clients}{heading} | {CONTENDERS[name].label} | {rates} "
                    f"| {step['p50_ms']:.2f} | {step['p99_ms']:.2f} | {step['p999_ms']:.2f} | {step['relay_cpu']:.0%} |"
                )
    for clients, rounds in results["rounds"].items():
        lines.append(f"\n{clients} clients, deliveries/s in each round:\n")
        for name, rates in rounds.items():
            line = f"- {CONTENDERS[name].label}: {', '.join(f'{rate:,.0f}' for rate in rates)}"
            if ratio := results["ratios"][clients].get(name):
                line += f"; of this the server reaches {ratio['best']:.2f} in the best rounds, and round by round "
                line += f"{ratio['lowest']:.2f} to {ratio['highest']:.2f}, median {ratio['median']:.2f}"
            lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench-feed", description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 50, 200])
    parser.add_argument("--each", type=int, default=10, help="symbols of each client, out of 500; one client has 500")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.8, help="how long a rate is held")
    parser.add_argument("--soak", type=float, default=0.0, help="seconds")
    parser.add_argument(
        "--busy", choices=NEIGHBOURS, default="none",
        help="beside a process that takes all it gets of the relay's core: with as much weight for the scheduler as "
        "the relay, or a hundredth of it, as beside the server's unit; or that takes the other core (core), so that "
        "relay, source and clients share one",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("build/bench-feed"))
    asked = parser.parse_args()
    if asked.busy == "core" and (os.cpu_count() or 1) < 2:
        parser.error("--busy core needs two cores")
    with busy_core(asked.busy):
        measure(asked)


def measure(asked: argparse.Namespace) -> None:
    asked.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release(),
                    "neighbour": asked.busy},
        "limit_p99_ms": PASS_P99_MS, "highest": {}, "rounds": {}, "ratios": {}, "light": {}, "steps": {},
    }  # fmt: skip
    for clients in asked.clients:
        each = 500 if clients == 1 else asked.each
        found: dict[str, list[Step]] = {name: [] for name in asked.only}
        for number in range(asked.rounds):
            for name in asked.only:
                print(f"{clients} clients, round {number + 1}, {CONTENDERS[name].label}", flush=True)
                best, steps = highest(CONTENDERS[name], clients, each, asked.seconds, START.get(name, 40_000))
                found[name].append(best)
                results["steps"].setdefault(clients, {}).setdefault(name, []).append([as_json(step) for step in steps])
        results["highest"][clients] = {name: as_json(_best(rounds)) for name, rounds in found.items()}
        rates = {name: [step.passed * step.deliveries for step in rounds] for name, rounds in found.items()}
        results["rounds"][clients], results["ratios"][clients] = rates, _ratios(rates)
    most = max(asked.clients)
    for name in asked.only:
        results["light"].setdefault(most, {})[name] = as_json(_light(name, most, asked.each))
    if "server" in asked.only:
        results["memory"] = _memory(asked.each)
    if asked.soak:
        results["soak"] = _soak(asked.soak, 50, asked.each)
        picture.lines(
            asked.out / "soak.svg", f"Soak at {LIGHT:,} deliveries a second, 50 clients",
            [("p99, ms", [(s["at"], s["p99_ms"]) for s in results["soak"]]),
             ("resident memory, MB", [(s["at"], s["memory_mb"]) for s in results["soak"]])],
        )  # fmt: skip
    groups = [
        (
            "1 client" if clients == 1 else f"{clients} clients",
            [(CONTENDERS[name].label, step["deliveries"]) for name, step in best.items()],
        )
        for clients, best in results["highest"].items()
    ]
    picture.bars(asked.out / "feed.svg", f"Deliveries per second with p99 under {PASS_P99_MS:.0f} ms", groups)
    (asked.out / "feed.json").write_text(json.dumps(results, indent=1) + "\n")
    (asked.out / "feed.md").write_text(_table(results))
    print(_table(results))


if __name__ == "__main__":
    main()
