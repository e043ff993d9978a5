"""The story: a usual day on which one server does not drain, a half day, a holiday. Every sentence of it is checked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar

from . import record
from .cloud import Cloud, CloudError, Instance, instant
from .faults import Fault
from .record import Alert, Day, Invocation, Step
from .report import Check
from .watch import Watch, functions_of

ROOT = Path(__file__).resolve().parents[2]
USUAL, HALF, HOLIDAY = "usual", "half", "holiday"
_COMMAND = re.compile(r"To try again.*?: (ansible-playbook .*)")
_LONGEST_RUN, _LONGEST_BOOT, _LONGEST_SEEN = 600.0, 240.0, 90.0
_STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Pace:
    """Seconds of the machine for what passes between two events, and the clock's rate while hosts boot."""

    between: float = 1.0
    session: float = 3.0
    boot_rate: float = 60.0

    @classmethod
    def of(cls, hosts: bool, quick: bool) -> Pace:
        if quick:
            return cls(0.0, 0.0, 8.0 if hosts else 60.0)
        # Hosts boot and trade on the machine's time: 12 of them take 40 s, and the half hour before the open is theirs.
        return cls(2.0, 20.0, 8.0) if hosts else cls()


def choose(calendar: Calendar, after: date) -> dict[str, date]:
    """The next usual session, the next half day after it, and the next holiday after that."""
    found: dict[str, date] = {}
    day = after
    for kind in (USUAL, HALF, HOLIDAY):
        day += timedelta(days=1)
        while _kind(calendar, day) != kind:
            day += timedelta(days=1)
        found[kind] = day
    return found


def _kind(calendar: Calendar, day: date) -> str:
    session = calendar.on(day)
    if session is None:
        return HOLIDAY if day.isoweekday() <= 5 else ""
    if not session.note:
        return USUAL
    return HALF if session.closes.time() < calendar.usual.closes else ""


class Story:
    """
    :param say: gets each step as it happens
    """

    def __init__(self, cloud: Cloud, watch: Watch, pace: Pace, say: Callable[[str, Step], None]) -> None:
        self.cloud, self.watch, self.pace, self._say = cloud, watch, pace, say
        self.checks: list[Check] = []
        self._day: Day | None = None
        self._models: list[str] = []
        self._fault = Fault(cloud)

    # Words

    def tell(self, text: str, kind: str = "step") -> None:
        step = Step(self.watch.now().shown if self._day else 0, text, kind)
        if self._day is not None:
            with self.watch.lock:
                self._day.steps.append(step)
        self._say(str(self.watch.calendar.zone), step)

    def check(self, told: str, ok: bool, seen: object = "") -> None:
        self.checks.append(Check(str(self._day.day if self._day else ""), told, bool(ok), str(seen)))
        self.tell(f"{told}" + ("" if ok else f" (seen: {seen})"), "check" if ok else "failed")

    # Before and after

    def night(self, before: date) -> None:
        """As it is before a day: everything drained and stopped, by the functions that do so every evening."""
        evening = datetime(before.year, before.month, before.day, tzinfo=self.watch.calendar.zone) - timedelta(hours=4)
        self.watch.set_clock(at=evening.isoformat(), rate=1)
        self._say("", Step(0, "Before the first day: draining and stopping what runs, as every evening"))
        self._fault.mend()
        answer = self.cloud.invoke("trading_server_shutdown", action="stop")
        left = [
            f"{host['model']}: {host['outcome']}, {host['reason']}"
            for host in answer["hosts"]
            if host["outcome"] not in ("stopped", "terminated", "gone")
        ]
        self.cloud.invoke("alpaca_websocket", action="stop")
        if not left:
            self._wait(lambda: not self._up(), _LONGEST_BOOT)
        self.check("everything is stopped on the evening before", not self._up(), left or self._up())

    def morning_after(self) -> None:
        """As it was: the machine's time, and everything starts."""
        self._day = None
        self._fault.mend()
        self.watch.set_clock(at=datetime.now(UTC).isoformat(), rate=1)
        self._wait(lambda: not self._in_state("stopping", "shutting-down"), _LONGEST_BOOT)
        for function in ("alpaca_websocket", "trading_server"):
            try:
                self.cloud.invoke(function, action="start")
            except CloudError as error:  # the other is started all the same
                self._say("", Step(0, f"not all is started again: {error} To start it: make demo", "failed"))

    # Days

    def play(self, kind: str, on: date) -> None:
        zone = self.watch.calendar.zone
        begin = datetime(on.year, on.month, on.day, 8, 40, tzinfo=zone)
        shown = self.watch.set_clock(at=begin.isoformat(), rate=1).shown
        day = self.watch.day(shown)
        assert day is not None
        self._day, self._models = day, []
        title = {USUAL: "a usual day", HALF: "a half day", HOLIDAY: "a holiday"}[kind]
        self.tell(f"{on:%A} {on}: {title}", "title")
        self.watch.look()
        self.check("nothing runs before the day begins", not self._up(), self._up())
        moments = self._moments(kind, day)
        while (events := self._due(on)) or moments:
            at = instant(events[0]["at"]) if events else float("inf")
            while moments and moments[0][0] <= at:
                when, act = moments.pop(0)
                self._pass(when)
                act()
            if events:
                self._pass(at - 5)
                runs = self._fire(events)
                for event, run in zip(events, runs, strict=True):
                    self._after(kind, event["name"], run)
        self._pass(datetime(on.year, on.month, on.day, 17, 5, tzinfo=zone).timestamp())
        self.watch.look()
        self.check("nothing runs at the end of the day", not self._up(), self._up())
        expected = int(kind == USUAL)
        subjects = [alert.subject for alert in day.alerts]
        self.check(f"{expected or 'no'} alert was sent", len(subjects) == expected, subjects)
        failed = [f"{run.function}: {run.said}" for run in day.invocations if not run.ok]
        self.check("no function failed", not failed, failed)

    def _moments(self, kind: str, day: Day) -> list[tuple[float, Callable[[], None]]]:
        """What happens besides the schedules."""
        if day.opens is None or day.closes is None:
            return []
        opened = (day.opens + 60, self._open)
        return [opened, (day.closes - 1800, self._break_one)] if kind == USUAL else [opened]

    # What the functions did

    def _after(self, kind: str, schedule: str, run: Invocation | None) -> None:
        """What must be so when the run of a schedule is over. One that is not known here must only not fail."""
        group = run.function if run else ""
        name = (group, schedule)
        day = self._day
        assert day is not None
        if kind == HOLIDAY:
            told = f"has no session on {day.day:%A}, {day.day}"
            ok = run is not None and run.did_nothing and told in run.said
            self.check(f"{group} does nothing and says why", ok, run.said if run else "did not run")
            self.check("nothing was started", not self._up(), self._up())
        elif name == ("alpaca_websocket", "start"):
            up = self._running("alpaca_websocket")
            self.check("ingestion runs before the servers start", len(up) == 1, up)
        elif name == ("trading_server", "start"):
            self._boot()
        elif name == ("trading_server_shutdown", "shutdown-early"):
            self._early(kind, run)
        elif name == ("trading_server_shutdown", "shutdown"):
            self._late(kind, run)
        elif name == ("alpaca_websocket", "stop"):
            self._wait(lambda: not self._up(), _LONGEST_BOOT)
            self.check("ingestion is stopped, after the servers", not self._up(), self._up())

    def _boot(self) -> None:
        day = self._day
        assert day is not None
        assert day.opens is not None
        servers = [each for each in self.cloud.instances() if each.component == "trading_server"]
        self._models = sorted(each.model for each in servers)
        self.tell(f"{len(servers)} trading servers are started, one for each model")
        self.watch.set_clock(rate=self.pace.boot_rate)
        limit = day.opens - 60
        self._wait(lambda: self._ready(servers) or self.watch.now().shown > limit, _LONGEST_BOOT)
        at = self.watch.set_clock(rate=1).shown
        self.watch.look()
        late = [each.model for each in servers if not self._ok(each)]
        what = "trade" if self.cloud.hosts else "run"
        self.check(
            f"all {len(servers)} servers {what} before the open", bool(servers) and not late and at < day.opens, late
        )

    def _ok(self, server: Instance) -> bool:
        wanted = record.WORKING if self.cloud.hosts else record.RUNNING
        return any(each.id == server.id and self.watch.state(each) == wanted for each in self.watch.instances)

    def _ready(self, servers: list[Instance]) -> bool:
        return all(map(self._ok, servers))

    def _open(self) -> None:
        self.tell("the exchange is open")
        if not self.cloud.hosts:
            self.tell("Instances are records here: nothing trades. With hosts, the models trade on paper now.")

    def _break_one(self) -> None:
        day = self._day
        assert day is not None
        if self.cloud.hosts:
            self.check("the models have placed orders", day.orders > 0, day.orders)
            self.check("market data reaches the models", bool(day.feed), len(day.feed))
        server = next(each for each in self.cloud.instances() if each.model == self._models[0])
        self.tell(self._fault.make(server), "fault")
        if self.cloud.hosts:
            # It stands there meanwhile: what is seen now is seen long before the shutdown.
            self._wait(lambda: self.watch.state(server) == record.UNHEALTHY, _LONGEST_SEEN)
            seen = self.watch.state(server)
            self.check("it is seen at once that this one does not trade", seen == record.UNHEALTHY, seen)

    def _early(self, kind: str, run: Invocation | None) -> None:
        if kind == HALF:
            self._all_stopped(run)
            return
        said = run.said if run else "did not run"
        up = self._running("trading_server")
        ok = "is open until 16:00" in said and sorted(up) == self._models
        self.check("the early shutdown leaves an open session alone", ok, f"{said}; running: {up}")

    def _late(self, kind: str, run: Invocation | None) -> None:
        if kind == HALF:
            said = run.said if run else "did not run"
            self.check("the late shutdown finds nothing to do", said == record.NOTHING_RUNS, said)
            return
        broken = self._models[0]
        # A run that is handed over to the next one is not the end.
        self._wait(lambda: bool(self._alert()), 60)
        left = self._running("trading_server")
        self.check("all others are drained and stopped, the one that failed is kept", left == [broken], left)
        alert = self._alert()
        self.check("one alert names it, with the reason", alert is not None and broken in alert.text, alert)
        if alert is None:
            return
        self.tell(f"{alert.subject}\n\n{alert.text}", "alert")
        self._person(alert)

    def _all_stopped(self, run: Invocation | None) -> None:
        self._wait(lambda: not self._running("trading_server"), _LONGEST_BOOT)
        left = self._running("trading_server")
        said = run.said if run else "did not run"
        ok = not left and said == f"{len(self._models)} stopped"
        self.check("all servers are drained and stopped after the early close", ok, f"{said}; running: {left}")

    def _alert(self) -> Alert | None:
        self.watch.look()
        alerts = self._day.alerts if self._day else []
        return next((each for each in alerts if "needs attention" in each.subject), None)

    def _person(self, alert: Alert) -> None:
        """A person reads the alert, repairs what is broken, and types what the alert says."""
        found = _COMMAND.search(alert.text)
        self.check("it has the command to type", found is not None, alert.text)
        if found is None:
            return
        self.tell(self._fault.mend(), "command")
        self.tell(f"$ {found[1]}", "command")
        words = shlex.split(found[1])
        words[0] = str(Path(sys.executable).with_name(words[0]))
        done = subprocess.run(
            words,
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        last = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-40:]
        self._wait(lambda: not self._running("trading_server"), 30)
        left = self._running("trading_server")
        ok = done.returncode == 0 and not left
        self.check(
            "the command drains and stops it", ok, f"status {done.returncode}, running {left}\n" + "\n".join(last)
        )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.cloud.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        }

    # Time

    def _due(self, on: date) -> list[dict[str, str]]:
        """What is scheduled next on this day; several at one time."""
        coming = self.cloud.control("clock")["next"]
        today = [each for each in coming if self.watch.calendar.today(datetime.fromisoformat(each["at"])) == on]
        return [each for each in today if each["at"] == today[0]["at"]]

    def _pass(self, until: float) -> None:
        """Move the clock to a time, so that a person can follow. It stands there."""
        now = self.watch.now().shown
        if until <= now:
            return
        long = until - now > 7200
        seconds = self.pace.session if long else self.pace.between
        began = time.monotonic()
        # In steps: a clock that ran as fast could run past an event while this process waits for the processor.
        while seconds and (share := (time.monotonic() - began) / seconds) < 1:
            self.watch.set_clock(at=datetime.fromtimestamp(now + (until - now) * share, UTC).isoformat(), rate=0)
            time.sleep(_STEP_SECONDS)
        self.watch.set_clock(at=datetime.fromtimestamp(until, UTC).isoformat(), rate=0)

    def _fire(self, events: list[dict[str, str]]) -> list[Invocation | None]:
        """Move to the next events and wait until their functions have ended."""
        day, known = self._day, functions_of(self.cloud)
        assert day is not None
        functions = [known.get(each["group"], each["group"]) for each in events]
        since = time.time()
        self.cloud.control("clock", "POST")
        self.watch.set_clock(rate=1)
        for event, function in zip(events, functions, strict=True):
            self.tell(f"schedule {event['name']}: {function}")

        def ended() -> list[Invocation | None]:
            self.watch.look()
            fresh = [run for run in day.invocations if run.real_begin >= since - 0.5]
            return [next((run for run in fresh if run.function == function), None) for function in functions]

        self._wait(lambda: all(ended()), _LONGEST_RUN)
        runs = ended()
        for function, run in zip(functions, runs, strict=True):
            self.tell(f"  {function}: {run.said if run else 'did not end'}")
        return runs

    def _wait(self, condition: Callable[[], Any], longest: float) -> bool:
        deadline = time.monotonic() + longest
        while not (found := bool(condition())) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.watch.look()  # else it would be seen only after the clock has moved on
        return found

    def _up(self) -> list[str]:
        """Names of the servers and the ingestion host that run."""
        ours = ("trading_server", "alpaca_websocket")
        return [
            each.name for each in self.cloud.instances() if each.component in ours and each.state not in ("stopped",)
        ]

    def _in_state(self, *states: str) -> list[str]:
        return [each.name for each in self.cloud.instances() if each.state in states]

    def _running(self, component: str) -> list[str]:
        return [
            each.name
            for each in self.cloud.instances()
            if each.component == component and each.state in ("pending", "running")
        ]

    def close(self) -> None:
        with suppress(Exception):
            self._fault.mend()
