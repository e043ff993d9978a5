# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for EC2's front door, before moto: request limits, client tokens, delays, and faults on demand.

moto knows what an instance is. It does not refuse too many requests, ignores client tokens and never fails. The
stand-in adds these, on a clock of its own that moves as fast as the work behind it allows.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import heapq
import http.client
import re
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What AWS publishes, written down a second time on purpose: the test must not believe the code under test.
LIMITS: dict[str, tuple[float, float]] = {
    "RunInstances": (5, 2),
    "StartInstances": (5, 2),
    "TerminateInstances": (100, 5),
    "CreateTags": (100, 10),
    "DeleteTags": (100, 10),
}
RESOURCE_LIMITS: dict[str, tuple[float, float]] = {
    "RunInstances": (1000, 2),
    "StartInstances": (1000, 2),
    "StopInstances": (1000, 20),
    "TerminateInstances": (1000, 20),
}
_DESCRIBE, _OTHER = (100.0, 20.0), (50.0, 5.0)
_OWN_HEADERS = ("connection", "content-length", "expect")
_INSTANCE_ID = re.compile(r"<instanceId>(i-[0-9a-f]+)</instanceId>")


class VirtualClock:
    """Time that stands still while somebody works, and jumps to the next alarm when everybody sleeps."""

    def __init__(self, quiet: float = 0.002) -> None:
        self._now = 0.0
        self._alarms: list[tuple[float, int, threading.Event]] = []
        self._working = 0
        self._moves = 0
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._advance, args=(quiet,), daemon=True).start()

    def monotonic(self) -> float:
        with self._lock:
            return self._now

    def now(self) -> datetime:
        # Instances carry moto's launch times, so this clock starts where moto's stands.
        return datetime.now(UTC) + timedelta(seconds=self.monotonic())

    def sleep(self, seconds: float) -> None:
        alarm = threading.Event()
        with self._lock:
            self._moves += 1
            heapq.heappush(self._alarms, (self._now + max(0.0, seconds), self._moves, alarm))
        alarm.wait()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Time stands still inside."""
        self._count(+1)
        try:
            yield
        finally:
            self._count(-1)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Within `working`: waiting for the clock is no work."""
        self._count(-1)
        try:
            yield
        finally:
            self._count(+1)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for _wake, _number, alarm in self._alarms:
                alarm.set()

    def _count(self, change: int) -> None:
        with self._lock:
            self._working += change
            self._moves += 1

    def _advance(self, quiet: float) -> None:
        seen = -1
        while not self._closed:
            # Somebody may be between two steps. Only if nothing moves for a moment, all of them sleep.
            time.sleep(quiet)
            with self._lock:
                if self._moves == seen and not self._working and self._alarms:
                    wake, _number, alarm = heapq.heappop(self._alarms)
                    self._now = max(self._now, wake)
                    self._moves += 1
                    alarm.set()
                seen = self._moves


class Bucket:
    """A token bucket as AWS describes it: no debt, a request that finds too little is refused."""

    def __init__(self, capacity: float, refill: float) -> None:
        self.capacity, self.refill = capacity, refill
        self.tokens, self.at = capacity, 0.0

    def take(self, amount: float, now: float) -> bool:
        self.tokens = min(self.capacity, self.tokens + (now - self.at) * self.refill)
        self.at = now
        # Rounding must not refuse what arithmetic allows.
        if self.tokens + 1e-6 < amount:
            return False
        self.tokens -= amount
        return True


@dataclass
class Request:
    operation: str
    form: dict[str, str]
    # Counted over all operations, and within this one, from 1.
    number: int = 0
    number_of_operation: int = 0

    @property
    def instances(self) -> list[str]:
        return [value for key, value in self.form.items() if re.match(r"^(InstanceId|ResourceId)\.\d+$", key)]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


# A fault looks at a request and may say what becomes of it:
CUT = "cut"  # the connection ends before the request is carried out
LOSE = "lose"  # the request is carried out, its answer never arrives
KILL_BEFORE = "kill before"  # this request and all later ones never arrive: the client is dead
KILL_AFTER = "kill after"  # the same, but this last one is carried out
Fault = Callable[[Request], "str | Answer | None"]


def refusal(code: str, message: str = "refused by the stand-in", status: int = 400) -> Answer:
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>stand-in</RequestID></Response>"
    )
    return Answer(status, body.encode())


def at_call(number: int, fault: str | Answer, operation: str = "") -> Fault:
    """The fault happens once: at the n-th request, of one operation if named."""

    def decide(request: Request) -> str | Answer | None:
        found = request.number_of_operation if operation else request.number
        return fault if found == number and operation in ("", request.operation) else None

    return decide


@dataclass(frozen=True)
class Shown:
    """How an instance is described. Of moto's states, stopping lasts for no time at all."""

    state: str = ""
    reason: tuple[str, str] | None = None


@dataclass
class StandIn:
    """Start with `with StandIn(...).serve():`, then send a client to `endpoint`."""

    moto: str
    clock: VirtualClock
    enforce: bool = False
    latency: float = 0.0
    # Seconds for which a new instance is neither described nor known to CreateTags.
    lag: float = 0.0
    fault: Fault | None = None
    # A launch for which this returns a state reason (code, message) is accepted, and its instances end at once.
    dies: Callable[[Request], tuple[str, str] | None] | None = None
    # What descriptions say of an instance instead of what moto knows: its state, its state reason, or both.
    shown: dict[str, Shown] = field(default_factory=dict)
    # Instances that no description shows, as if launched this moment by another run.
    hidden: set[str] = field(default_factory=set)
    endpoint: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    history: list[str] = field(default_factory=list)
    dead: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, Bucket] = {}
        self._tokens: dict[str, tuple[str, Answer]] = {}
        self._token_locks: dict[str, threading.Lock] = {}
        self._ended: set[str] = set()
        self._born: dict[str, float] = {}
        self._connections = threading.local()

    @contextmanager
    def serve(self) -> Iterator[StandIn]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = owner.handle(self.path, dict(self.headers), body)
                if answer is None:
                    # No answer at all: what a broken connection looks like from the other side.
                    self.close_connection = True
                    return
                size = len(answer.body)
                head = f"HTTP/1.1 {answer.status} X\r\nContent-Type: text/xml\r\nContent-Length: {size}\r\n\r\n"
                self.wfile.write(head.encode() + answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                return

        server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()

    def be_young_again(self) -> None:
        """All instances are new now: what a dead client's retries took is no time that passed."""
        self._born = dict.fromkeys(self._born, self.clock.monotonic())

    def revive(self) -> None:
        """A new client process: no fault, nothing counted. The account stays as it is."""
        self.dead, self.fault, self.dies = False, None, None
        self.calls.clear()
        self.refused.clear()
        self.history.clear()

    def forget_tokens(self) -> None:
        self._tokens.clear()
        self._ended.clear()
        self._born.clear()

    def client(self) -> Any:
        """A client whose calls stop the clock while they last."""
        return _Watched(client(self.endpoint), self.clock)

    # The other client of the account

    def other_client(self, operation: str, amount: float = 1.0) -> None:
        """Somebody else takes tokens of the account."""
        with self._lock:
            self._bucket(operation).take(amount, self.clock.monotonic())

    # One request

    def handle(self, path: str, headers: dict[str, str], body: bytes) -> Answer | None:
        form = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        operation = form.get("Action", "")
        with self._lock:
            self.calls[operation] += 1
            self.history.append(operation)
            request = Request(operation, form, sum(self.calls.values()), self.calls[operation])
            if self.dead:
                return None
            fate = self.fault(request) if self.fault else None
            if fate in (KILL_BEFORE, KILL_AFTER):
                self.dead = True
        if self.latency:
            with self.clock.idle():
                self.clock.sleep(self.latency / 2)
        if fate in (CUT, KILL_BEFORE):
            return None
        answer = (
            fate if isinstance(fate, Answer) else self._limited(request) or self._perform(request, path, headers, body)
        )
        if answer.status >= 400:
            with self._lock:
                found = re.search(rb"<Code>(.*?)</Code>", answer.body)
                self.refused[found.group(1).decode() if found else "?"] += 1
        if self.latency:
            with self.clock.idle():
                self.clock.sleep(self.latency / 2)
        return None if fate in (LOSE, KILL_AFTER) else answer

    def _limited(self, request: Request) -> Answer | None:
        if not self.enforce:
            return None
        with self._lock:
            now = self.clock.monotonic()
            if not self._bucket(request.operation).take(1, now):
                return refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
            if request.operation in RESOURCE_LIMITS:
                amount = int(request.form.get("MaxCount") or len(request.instances))
                if not self._bucket(request.operation, resources=True).take(amount, now):
                    return refusal("RequestLimitExceeded", "Request limit exceeded for resources.", 503)
        return None

    def _bucket(self, operation: str, *, resources: bool = False) -> Bucket:
        key = f"{operation} resources" if resources else operation
        if key not in self._buckets:
            default = _DESCRIBE if operation.startswith("Describe") else _OTHER
            limit = RESOURCE_LIMITS[operation] if resources else LIMITS.get(operation, default)
            self._buckets[key] = Bucket(*limit)
        return self._buckets[key]

    def _perform(self, request: Request, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if request.operation == "RunInstances":
            return self._run_instances(request, path, headers, body)
        if request.operation == "CreateTags" and any(self._unknown(id_) for id_ in request.instances):
            return refusal("InvalidInstanceID.NotFound", "The instance ID does not exist")
        if "UserData.Value" in request.form:
            # moto decodes this field twice, EC2 once.
            twice = base64.b64encode(request.form["UserData.Value"].encode()).decode()
            body = urllib.parse.urlencode(request.form | {"UserData.Value": twice}).encode()
        answer = self._forward(path, headers, body)
        if request.operation == "TerminateInstances" and answer.status < 300:
            with self._lock:
                self._ended |= set(_INSTANCE_ID.findall(answer.body.decode()))
        if request.operation == "DescribeInstances" and (self.lag or self.hidden):
            answer = Answer(answer.status, self._without_newborn(answer.body))
        if request.operation == "DescribeInstances" and self.shown:
            answer = Answer(answer.status, self._as_shown(answer.body))
        return answer

    def _run_instances(self, request: Request, path: str, headers: dict[str, str], body: bytes) -> Answer:
        token = request.form.get("ClientToken", "")
        rest = sorted((key, value) for key, value in request.form.items() if key != "ClientToken")
        print_ = hashlib.sha256(repr(rest).encode()).hexdigest()
        with self._lock:
            turn = self._token_locks.setdefault(token, threading.Lock())
        with turn:
            if token in self._tokens:
                seen, answer = self._tokens[token]
                if seen != print_:
                    return refusal("IdempotentParameterMismatch", "Arguments on this idempotent request differ")
                if self._ended & set(_INSTANCE_ID.findall(answer.body.decode())):
                    return refusal("IdempotentInstanceTerminated", "The instance of this token is terminated")
                return answer
            answer = self._forward(path, headers, body)
            if answer.status < 300:
                with self._lock:
                    if token:
                        self._tokens[token] = (print_, answer)
                    for id_ in _INSTANCE_ID.findall(answer.body.decode()):
                        self._born[id_] = self.clock.monotonic()
                self._perhaps_die(request, _INSTANCE_ID.findall(answer.body.decode()))
            return answer

    def _perhaps_die(self, request: Request, ids: list[str]) -> None:
        if reason := self.dies(request) if self.dies else None:
            client(self.moto).terminate_instances(InstanceIds=ids)
            with self._lock:
                self._ended |= set(ids)
                self.shown |= dict.fromkeys(ids, Shown("terminated", reason))

    def _unknown(self, id_: str) -> bool:
        return id_ in self._born and self.clock.monotonic() < self._born[id_] + self.lag

    def _without_newborn(self, body: bytes) -> bytes:
        tree = ElementTree.fromstring(body)
        for instances in tree.iterfind(".//{*}instancesSet"):
            for item in list(instances):
                id_ = item.findtext("{*}instanceId") or ""
                if id_ in self.hidden or self._unknown(id_):
                    instances.remove(item)
        return ElementTree.tostring(tree)

    def _as_shown(self, body: bytes) -> bytes:
        tree = ElementTree.fromstring(body)
        for item in tree.iterfind(".//{*}instancesSet/{*}item"):
            shown = self.shown.get(item.findtext("{*}instanceId") or "")
            if shown and shown.state:
                for name in item.iterfind("{*}instanceState/{*}name"):
                    name.text = shown.state
            if shown and shown.reason:
                for old in item.findall("{*}stateReason"):
                    item.remove(old)
                space = item.tag.partition("}")[0] + "}" if item.tag.startswith("{") else ""
                new = ElementTree.SubElement(item, f"{space}stateReason")
                for key, text in zip(("code", "message"), shown.reason, strict=True):
                    ElementTree.SubElement(new, f"{space}{key}").text = text
        return ElementTree.tostring(tree)

    def _forward(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        kept = {key: value for key, value in headers.items() if key.lower() not in _OWN_HEADERS}
        for attempt in (1, 2):
            connection = getattr(self._connections, "value", None)
            if connection is None:
                address = urllib.parse.urlsplit(self.moto)
                connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=900)
                self._connections.value = connection
            try:
                connection.request("POST", path, body, kept)
                response = connection.getresponse()
                return Answer(response.status, response.read())
            except (http.client.HTTPException, OSError):
                connection.close()
                self._connections.value = None
                if attempt == 2:
                    raise
        raise AssertionError("not reached")


@functools.cache
def client(endpoint: str) -> Any:
    """A plain boto3 client that never repeats a request by itself. Kept, for loading EC2's model takes long."""
    import boto3
    from botocore.config import Config

    session: Any = boto3.session.Session()
    return session.client(
        "ec2",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(
            proxies={},
            retries={"total_max_attempts": 1},
            max_pool_connections=40,
            parameter_validation=False,
            # A loaded machine may take long over a thousand instances; that is not what is tested.
            read_timeout=900,
        ),
    )


class _Watched:
    """A boto3 client that tells the clock when it is at work."""

    def __init__(self, client: Any, clock: VirtualClock) -> None:
        self._client, self._clock = client, clock

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(**parameters: Any) -> Any:
            with self._clock.working():
                return method(**parameters)

        return call
