"""Watches the environment while the day goes on: clock, instances, functions, alerts, orders, hosts. Changes nothing.

What hosts and logs date by the machine's clock, which they cannot leave, is put where the embedded AWS's clock stood
at that moment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import traceback
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

from ansible_collections.algo.trading.plugins.filter.hosts import host_status, host_status_command
from ansible_collections.algo.trading.plugins.module_utils.fleet.halt import parameter_orders
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar

from . import record
from .cloud import FUNCTIONS, Cloud, CloudError, Instance, Moment, instant
from .logs import Logs
from .record import Alert, Day, Mark

_LOOK_SECONDS, _HOST_SECONDS = 1.0, 0.3
# A host that hangs keeps one of these waiting for so long, and what was known of it counts for so long.
_ASKED_AT_ONCE, _ANSWER_SECONDS, _KNOWN_SECONDS = 2, 10.0, 30.0
# Runs in the hosts' network: what the paper broker has, once a second, without what nobody looks at.
_BROKER = """
import json, sys, time, urllib.request
while True:
    try:
        found = json.load(urllib.request.urlopen("http://169.254.170.1:4568/control/state", timeout=10))
        names = ("id", "symbol", "side", "qty", "filled_qty", "status", "created_at", "client_order_id")
        found["orders"] = [{name: order.get(name) for name in names} for order in found["orders"]][-2000:]
        print(json.dumps({name: found[name] for name in ("orders", "positions", "prices", "cash")}), flush=True)
    except OSError:
        pass
    time.sleep(1)
"""


class Watch:
    """
    :param only: days that are kept; without it every day that the clock shows
    """

    def __init__(self, cloud: Cloud, calendar: Calendar, only: set[date] | None = None) -> None:
        self.cloud, self.calendar, self._only = cloud, calendar, only
        self.days: dict[date, Day] = {}
        self.instances: list[Instance] = []
        self.health: dict[str, dict[str, Any]] = {}
        self.broker: dict[str, Any] = {}
        self.in_force: list[str] = []
        self.upcoming: list[dict[str, str]] = []
        self.problem = ""
        self.lock = threading.RLock()
        self._moments: list[Moment] = []
        self._orders: set[str] = set()
        self._since = time.time()
        self._logs = Logs(cloud, self._since)
        self._ssm, self._queue = cloud.client("ssm"), ""
        self._sqs = cloud.client("sqs")
        self._over = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    # Life

    def start(self, queue: str = "") -> None:
        """
        :param queue: URL of a queue that gets the alerts
        """
        self._queue = queue
        self.look()
        work: list[tuple[Callable[[], None], float]] = [(self.look, _LOOK_SECONDS)]
        if self.cloud.hosts:
            work += [(self._ask_hosts, _HOST_SECONDS), (self._ask_broker, 2.0)]
        for each, pause in work:
            threading.Thread(target=self._repeat, args=(each, pause), daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        if self._child is not None:
            self._child.kill()

    def _repeat(self, work: Callable[[], None], pause: float) -> None:
        while not self._over.wait(pause):
            try:
                work()
            except Exception as error:  # the others go on, and the page says it
                self.problem = f"{type(error).__name__}: {error}"
                if not self._over.is_set():
                    print(traceback.format_exc(), file=sys.stderr)

    # The clock

    def set_clock(self, **given: Any) -> Moment:
        """Set the clock, and know from when on it is so."""
        self.cloud.control("clock", "PUT", **given)
        return self.now()

    def now(self) -> Moment:
        shown = self.cloud.control("clock")
        moment = Moment(time.time(), instant(shown["now"]), float(shown["rate"]))
        with self.lock:
            self._moments.append(moment)
            self.upcoming = shown["next"]
        return moment

    def shown_at(self, real: float) -> float:
        """What the clock showed when the machine's had this time."""
        with self.lock:
            place = bisect_right(self._moments, real, key=lambda each: each.real)
            at = self._moments[max(0, place - 1)]
            found = at.shown + (real - at.real) * at.rate
            # A clock that was set meanwhile has not shown more than that.
            following = self._moments[place] if place < len(self._moments) else None
        # A clock that was set forward meanwhile, in small steps: between two of them.
        if following is not None and at.rate == 0 and following.shown > at.shown and following.real - at.real < 1:
            return at.shown + (following.shown - at.shown) * (real - at.real) / (following.real - at.real)
        return found

    def day(self, shown: float) -> Day | None:
        on = self.calendar.today(datetime.fromtimestamp(shown, UTC))
        if self._only is not None and on not in self._only:
            return None
        with self.lock:
            if on not in self.days:
                self.days[on] = Day.of(on, self.calendar)
            return self.days[on]

    # Looking

    def look(self) -> None:
        """Everything that AWS knows."""
        moment = self.now()
        instances = self.cloud.instances()
        self._read_logs()
        self._read_alerts()
        orders, unknown = parameter_orders(self._ssm, self.cloud.scope.parameter("halt"))
        with self.lock:
            self.in_force = [unknown] if unknown else orders.in_force(datetime.fromtimestamp(moment.shown, UTC))
            self.instances = instances
            if (day := self.day(moment.shown)) is not None:
                for each in instances:
                    if each.component in ("trading_server", "alpaca_websocket"):
                        state = self.state(each)
                        why = str(self._known(each).get("reason") or "") if state == record.UNHEALTHY else ""
                        day.row(each.name, each.component).seen(state, moment.shown, why)
        self.problem = ""

    def state(self, instance: Instance) -> str:
        if instance.state in ("stopped", "shutting-down", "terminated"):
            return record.STOPPED
        if instance.state == "stopping":
            return record.STOPPING
        if instance.state != "running" or not self.cloud.hosts:
            return record.BOOTING if instance.state == "pending" else record.RUNNING
        found = self._known(instance)
        if found.get("health") == "healthy":
            return record.WORKING
        if found.get("was_healthy") and found.get("state") in ("draining", "drained"):
            return record.STOPPING
        if found.get("health") == "no service":
            return record.RUNNING
        # It was well before: then it is not booting.
        return record.UNHEALTHY if found.get("was_healthy") else record.BOOTING

    def _known(self, instance: Instance) -> dict[str, Any]:
        """What a host said of itself last; what is too old for that does not count."""
        found = self.health.get(instance.id, {})
        silent = time.monotonic() - found.get("asked", 0.0) if found else 0.0
        if silent <= _KNOWN_SECONDS:
            return found
        return {"health": "unknown", "reason": f"no answer for {silent:.0f} s", "was_healthy": found["was_healthy"]}

    def _read_logs(self) -> None:
        for found in self._logs.read():
            found.begin, found.end = self.shown_at(found.begin), self.shown_at(found.end)
            day = self.day(found.begin)
            if day is None:
                continue
            with self.lock:
                day.invocations.append(found)
                day.invocations.sort(key=lambda each: each.begin)
                for line in found.lines:
                    if line.get("outcome") in ("left_running", "stop_failed", "unfinished", "stopped_undrained"):
                        name = str(line.get("model") or line.get("name"))
                        day.row(name, "trading_server").marks.append(Mark(found.end, "undrained", line["reason"]))

    def _read_alerts(self) -> None:
        if not self._queue:
            return
        answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=0)
        for message in answer.get("Messages", []):
            self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
            mail = json.loads(message["Body"])
            at = self.shown_at(time.time())
            if (day := self.day(at)) is not None:
                with self.lock:
                    day.alerts.append(Alert(at, str(mail.get("Subject", "")), str(mail.get("Message", ""))))

    def _ask_hosts(self) -> None:
        """Few at once: asking takes processor time from those that trade."""
        for instance in self.instances:
            if instance.state != "running":
                self.health.pop(instance.id, None)
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            list(pool.map(self._ask, [each for each in self.instances if each.state == "running"]))

    def _ask(self, instance: Instance) -> None:
        if self._over.wait(_HOST_SECONDS * _ASKED_AT_ONCE):
            return
        script = host_status_command(instance.component)
        try:
            told = host_status(self.cloud.execute(instance.id, f"{script}; true", _ANSWER_SECONDS), instance.component)
        except CloudError:  # it boots, or it goes, or it hangs
            told = host_status("", instance.component) | {"reason": "the host does not answer"}
        now = time.time()
        with self.lock:
            before = self.health.get(instance.id, {})
            was = told["health"] == "healthy" or bool(before.get("was_healthy"))
            self.health[instance.id] = told | {"was_healthy": was, "asked": time.monotonic()}
            lag, day = told.get("feed_lag"), self.day(self.shown_at(now))
            if day is not None and isinstance(lag, int | float) and instance.component == "trading_server":
                day.feed.append((self.shown_at(now), float(lag)))

    def _ask_broker(self) -> None:
        """Follow the paper broker until its market ends; then it is asked again."""
        command = [*self.cloud.control("inside"), sys.executable, "-c", _BROKER]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._child.stdout
        for line in self._child.stdout:
            found = json.loads(line)
            with self.lock:
                self.broker = found
                for order in found["orders"]:
                    self._count(order)

    def _count(self, order: dict[str, Any]) -> None:
        made = instant(str(order["created_at"]).replace("Z", "+00:00"))
        if order["id"] in self._orders or made < self._since:
            return
        self._orders.add(order["id"])
        at = self.shown_at(made)
        if (day := self.day(at)) is None:
            return
        day.orders += 1
        model = str(order["client_order_id"]).split(":")[1:2]
        for row in day.rows.values():
            if model and row.name == model[0]:
                row.marks.append(Mark(at, "order", f"{order['side']} {order['qty']} {order['symbol']}"))

    # Showing

    def snapshot(self) -> dict[str, Any]:
        """All that the page shows."""
        with self.lock:
            last = self._moments[-1]
            now = last.shown + (time.time() - last.real) * last.rate
            day = self.day(now) or (list(self.days.values())[-1] if self.days else None)
            return {
                "environment": f"{self.cloud.scope.project} {self.cloud.scope.environment}",
                "hosts": self.cloud.hosts,
                "now": now,
                "rate": last.rate,
                "zone": str(self.calendar.zone),
                "exchange": self.calendar.exchange,
                "day": day.as_dict() if day else None,
                "days": [each.isoformat() for each in self.days],
                "next": self.upcoming[:5],
                "fleet": [self._shown(each) for each in self.instances],
                "positions": self.broker.get("positions", {}),
                "prices": self.broker.get("prices", {}),
                "cash": self.broker.get("cash"),
                "orders": self.broker.get("orders", [])[-8:][::-1],
                "order_count": len(self.broker.get("orders", [])),
                "in_force": self.in_force,
                "alerts": [vars(alert) for each in self.days.values() for alert in each.alerts],
                "problem": self.problem,
            }

    def _shown(self, instance: Instance) -> dict[str, Any]:
        told = self._known(instance)
        names = ("health", "state", "last_work_age", "feed_lag", "orders", "position", "symbol", "reason")
        gain = told.get("profit_and_loss")
        shown = {name: told.get(name) for name in names}
        return (
            vars(instance)
            | shown
            | {
                "instance_state": instance.state,
                "name": instance.name,
                "colour": self.state(instance),
                "gain": gain.get("total") if isinstance(gain, dict) else gain,
            }
        )


def functions_of(cloud: Cloud) -> dict[str, str]:
    """Name of the deployed function → ours."""
    return {cloud.scope.name(name): name for name in FUNCTIONS}
