# SPDX-License-Identifier: GPL-3.0-or-later
"""One contender between a source and its clients: processes, steps at a rate, the highest rate that still passes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wire import SYMBOLS

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests"))
import lifeline  # beside the tests, which use it as well

PASS_P99_MS = 10.0
_PATIENCE = 30.0
_PAUSE = 0.3  # seconds before each step, in which the rest of the machine gets its turn
# The relay has a core of its own; the load shares the other.
RELAY_CORE, LOAD_CORE = 0, 1
# Each program is a group of its own for the scheduler (autogroup), as a service with a CPUWeight is. Relay and load
# come before whatever else runs here. A neighbour has the relay's weight, or a hundredth of it (87 to 1), as a program
# has beside the server's unit with its CPUWeight. Or it takes the load's core whole, and all the rest shares the other.
_FIRST = -19
NEIGHBOURS = {"none": None, "equal": _FIRST, "hundredth": 1, "core": _FIRST}
_core_of = {RELAY_CORE: RELAY_CORE, LOAD_CORE: LOAD_CORE}


def spawn(arguments: list[str], core: int, *, listen: str = "stdout", niceness: int = _FIRST) -> subprocess.Popen[str]:
    """A Python process on one core; lines of JSON come on its stream `listen`, see `hear`.

    :param niceness: of its group
    """
    paths = os.pathsep.join((str(HERE.parent / "src"), str(HERE)))
    core = _core_of[core]
    cores = {core} if core < (os.cpu_count() or 1) else os.sched_getaffinity(0)
    heard = listen == "stdout"
    return lifeline.spawn(
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if heard else subprocess.DEVNULL,
        stderr=None if heard else subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": paths},
        preexec_fn=lambda: _alone(cores, niceness),
    )


def _alone(cores: set[int], niceness: int) -> None:
    """On its core, and with its weight, where we may ask for that."""
    os.sched_setaffinity(0, cores)
    os.setsid()  # a group of its own for the scheduler, with its helpers
    with contextlib.suppress(OSError):
        if os.environ.get("BENCH_REALTIME"):  # where others can't be kept away
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        Path("/proc/self/autogroup").write_text(str(niceness))


def as_usual(pid: int) -> None:
    """Takes the helpers of a process out of the real time that they inherited."""
    if not os.environ.get("BENCH_REALTIME"):
        return
    for each in family(pid)[1:]:
        for task in Path(f"/proc/{each}/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))


def hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Its next object."""
    stream = process.stdout or process.stderr
    assert stream is not None
    while line := stream.readline():
        with contextlib.suppress(ValueError):
            return dict(json.loads(line))
    raise RuntimeError(f"{process.args!r} ended with {process.wait()}")


def ask(process: subprocess.Popen[str], **asked: Any) -> dict[str, Any]:
    assert process.stdin is not None
    process.stdin.write(json.dumps(asked) + "\n")
    process.stdin.flush()
    return hear(process)


@contextlib.contextmanager
def busy_core(neighbour: str) -> Iterator[None]:
    """A neighbour that takes all it gets of a core, all the time; see NEIGHBOURS."""
    niceness = NEIGHBOURS[neighbour]
    if niceness is None:
        yield
        return
    process = spawn([str(HERE / "neighbour.py")], LOAD_CORE if neighbour == "core" else RELAY_CORE, niceness=niceness)
    if neighbour == "core":
        _core_of[LOAD_CORE] = RELAY_CORE
    try:
        yield
    finally:
        _core_of[LOAD_CORE] = LOAD_CORE
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [each for child in task.read_text().split() for each in family(int(child))]
    return found


def cpu_seconds(pid: int) -> float:
    total = 0.0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def memory(pid: int) -> int:
    """Resident bytes of the process alone."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Contender:
    """`start(source port, directory)` returns the running relay's processes and the port where clients connect."""

    name: str
    label: str
    wire: str  # "ws"; "arrays" or "objects", one a line over bare TCP
    start: Callable[[int, Path], tuple[list[subprocess.Popen[str]], int]]


@dataclass(frozen=True)
class Step:
    """One rate, held for some seconds."""

    rate: float  # messages per second that the source was told
    messages: float  # that it sent, per second
    deliveries: float  # per second
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    relay_cpu: float  # share of one core; more than 1 where a relay has more processes
    clients_cpu: float
    source_cpu: float
    frames: float  # frames or writes that clients read, per second
    complete: bool  # everything arrived, at everybody who asked for it, and the source kept its pace

    def __str__(self) -> str:
        return (
            f"{self.messages:>9,.0f} in/s {self.deliveries:>10,.0f} out/s  p99 {self.p99_ms:8.2f} ms  "
            f"relay {self.relay_cpu:4.0%}  clients {self.clients_cpu:4.0%}  source {self.source_cpu:4.0%}  "
            f"{'passes' if self.passed else 'fails'}"
        )

    @property
    def passed(self) -> bool:
        return self.complete and self.p99_ms < PASS_P99_MS


class Rig:
    """A contender with its source and its clients, all running."""

    def __init__(self, contender: Contender, clients: int, each: int) -> None:
        self.contender, self.clients_count, self.each = contender, clients, each
        with contextlib.ExitStack() as running:
            directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bench-feed-")))
            self.source = spawn([str(HERE / "source.py"), contender.wire], LOAD_CORE)
            running.callback(end, self.source)
            self.relay, port = contender.start(hear(self.source)["port"], directory)
            for process in self.relay:
                running.callback(end, process)
            arguments = [contender.wire, str(port), str(clients), str(each)]
            self.clients = spawn([str(HERE / "clients.py"), *arguments], LOAD_CORE)
            running.callback(end, self.clients)
            hear(self.clients)
            self._settle()
            self._running = running.pop_all()

    def _settle(self) -> None:
        """A server that subscribes upstream as its clients ask needs the last answer before all is on its way."""
        for _ in range(20):
            if self.run(2000, 0.5).complete:
                return
        raise RuntimeError(f"{self.contender.name}: not everything arrives even at 2,000 messages per second")

    def run(self, rate: float, seconds: float) -> Step:
        time.sleep(_PAUSE)
        ask(self.clients, reset=True)
        parties = self.relay, [self.clients], [self.source]
        before_cpu = [sum(cpu_seconds(process.pid) for process in party) for party in parties]
        sent = ask(self.source, rate=rate, seconds=seconds)
        after_cpu = [sum(cpu_seconds(process.pid) for process in party) for party in parties]
        used = [after - before for after, before in zip(after_cpu, before_cpu, strict=True)]
        wanted = sent["sent"] / len(SYMBOLS) * self.clients_count * self.each
        give_up, before = time.monotonic() + _PATIENCE, -1
        found = ask(self.clients, report=True)
        while found["deliveries"] < wanted and time.monotonic() < give_up and not found["lost"]:
            time.sleep(0.1)
            found = ask(self.clients, report=True)
            if found["deliveries"] == before and rate < 5000:
                break
            before = found["deliveries"]
        elapsed = sent["elapsed"]
        complete = found["deliveries"] == wanted and not found["foreign"] and not found["lost"]
        return Step(
            rate,
            round(sent["sent"] / elapsed),
            round(wanted / elapsed),
            round(found["p50_ms"], 3),
            round(found["p99_ms"], 3),
            round(found["p999_ms"], 3),
            round(found["max_ms"], 3),
            relay_cpu=round(used[0] / elapsed, 2),
            clients_cpu=round(used[1] / elapsed, 2),
            source_cpu=round(used[2] / elapsed, 2),
            frames=round(found["frames"] / elapsed),
            complete=complete and sent["sent"] / elapsed > 0.95 * rate,
        )

    def close(self) -> None:
        self._running.close()


def highest(contender: Contender, clients: int, each: int, seconds: float, start: float) -> tuple[Step, list[Step]]:
    """The highest rate that passes, found by steps of 1.6 and then by halving; and all steps on the way.

    A rate has failed when it fails three times: what else the machine does can only make it worse.
    """
    steps: list[Step] = []
    low, high, best = 0.0, 0.0, None
    rate = start
    rig = Rig(contender, clients, each)
    rig.run(start / 2, seconds)  # to warm up
    try:
        while len(steps) < 14 and (not high or not low or high / low > 1.15):
            passed = False
            for _attempt in range(3):
                step = rig.run(rate, seconds)
                steps.append(step)
                passed = step.passed
                print(f"  {step}", flush=True)
                if not step.complete:  # begin again with empty buffers
                    rig.close()
                    rig = Rig(contender, clients, each)
                    rig.run(start / 2, seconds)
                if passed:
                    break
            if passed:
                low = rate
                best = step if best is None or step.deliveries > best.deliveries else best
            else:
                high = rate
                if not low and rate < start / 16:
                    break
            rate = (low * high) ** 0.5 if high and low else rate * 1.6 if not high else rate / 2
    finally:
        rig.close()
    return best or steps[-1], steps


def as_json(step: Step) -> dict[str, Any]:
    return asdict(step) | {"passed": step.passed}
