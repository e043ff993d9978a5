"""Lambda functions run: `Invoke` starts the deployed zip (`executions`), within the function's reserved concurrency.

Asynchronous invocations are queued, tried again one and two minutes later on the clock, and end in the function's
destinations and its dead-letter queue. https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import account
from .acting import Acting
from .clock import Clock
from .executions import Executions, Outcome, Task
from .recording import Answer, Request

_LOG_RESULT_BYTES = 4096
_RETRY_SECONDS = (60.0, 120.0)
_FIRST_THROTTLED_SECONDS, _LONGEST_THROTTLED_SECONDS = 1.0, 300.0
_DEAD_LETTER_MESSAGE = 1024  # characters of an error


class _ThrottledError(Exception):
    """As many executions as the function's reserved concurrency allows are under way."""


@dataclass(order=True)
class _Queued:
    due: float  # on the clock
    number: int
    region: str = field(compare=False)
    name: str = field(compare=False)
    event: Any = field(compare=False)
    request_id: str = field(compare=False)
    since: float = field(compare=False)
    tries: int = field(compare=False, default=0)
    throttled: int = field(compare=False, default=0)


class Functions:
    """Runs functions.

    :param directory: where unpacked code lies
    :param clock: the time that functions see
    :param moto: held while moto's tables are looked at
    :param network: see `Executions`
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        moto: AbstractContextManager[Any],
        acting: Acting,
        log: Callable[[str], None],
        network: Callable[[], tuple[list[str], str]] = lambda: ([], ""),
    ) -> None:
        self._clock, self._moto, self._acting, self._log = clock, moto, acting, log
        self._executions = Executions(directory, clock, acting, network)
        self._running: Counter[str] = Counter()
        self._queue: list[_Queued] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="asynchronous invocations").start()

    def __call__(self, request: Request) -> Answer | None:
        """Answer `Invoke`; everything else, and functions that do not exist, are moto's."""
        if (request.service, request.operation) != ("lambda", "Invoke"):
            return None
        name = unquote(request.path.rstrip("/").rsplit("/", 2)[-2])
        try:
            event = json.loads(request.body or b"{}")
        except ValueError as error:
            problem = {"Type": "User", "message": f"Could not parse request body into json: {error}"}
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "InvalidRequestContentException"}
            return Answer("400 Bad Request", headers, json.dumps(problem).encode())
        kind = request.headers.get("x-amz-invocation-type", "RequestResponse")
        if kind == "Event":
            queued = self.queue(request.region, name, event)
            return Answer("202 Accepted", {"x-amzn-RequestId": queued}, b"") if queued else None
        try:
            outcome = None if kind == "DryRun" else self.run(request.region, name, event)
        except _ThrottledError:
            problem = {
                "Type": "User",
                "message": "Rate Exceeded.",
                "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
            }
            headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "TooManyRequestsException"}
            return Answer("429 Too Many Requests", headers, json.dumps(problem).encode())
        if outcome is None:
            return None
        headers = {"Content-Type": "application/json", "x-amzn-RequestId": outcome.request_id}
        headers["X-Amz-Executed-Version"] = "$LATEST"
        if outcome.error:
            headers["X-Amz-Function-Error"] = outcome.error
        if request.headers.get("x-amz-log-type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log[-_LOG_RESULT_BYTES:]).decode()
        return Answer("200 OK", headers, json.dumps(outcome.payload).encode())

    def run(self, region: str, name: str, event: Any) -> Outcome | None:
        """Run a function and wait for it; None if there is no such function."""
        found = self._task(region, name)
        if found is None:
            return None
        with self._place(found[0]):
            return self._executions.run(*found, event, str(uuid.uuid4()))

    def _task(self, region: str, name: str) -> tuple[Task, account.Credentials] | None:
        with self._moto:
            function = account.function(region, name)
            if function is None:
                return None
            task = Task.of(function, region)
            return task, account.assume(task.role, task.name, region)

    @contextmanager
    def _place(self, task: Task) -> Iterator[None]:
        """A place within the reserved concurrency.

        :raises _ThrottledError: if there is none
        """
        with self._changed:
            if task.concurrency is not None and self._running[task.arn] >= task.concurrency:
                raise _ThrottledError
            self._running[task.arn] += 1
        try:
            yield
        finally:
            with self._changed:
                self._running[task.arn] -= 1

    def queue(self, region: str, name: str, event: Any) -> str | None:
        """Queue an asynchronous invocation; returns its request id, None if there is no such function."""
        with self._moto:
            if account.function(region, name) is None:
                return None
        request_id = str(uuid.uuid4())
        now = self._clock.timestamp()
        self._put(_Queued(now, next(self._numbers), region, name, event, request_id, now))
        return request_id

    def forget(self) -> None:
        """Drop what is queued: the account was reset."""
        with self._changed:
            self._queue.clear()

    def waiting(self) -> list[float]:
        """When the queued invocations are due, as timestamps of the clock, soonest first."""
        with self._changed:
            return sorted(item.due for item in self._queue)

    # Asynchronous invocations

    def _put(self, item: _Queued) -> None:
        with self._changed:
            heapq.heappush(self._queue, item)
            self._changed.notify()

    def _next(self) -> _Queued:
        with self._changed:
            while not self._queue or self._queue[0].due > self._clock.timestamp():
                self._changed.wait(0.2 if self._queue else None)
            return heapq.heappop(self._queue)

    def _work(self) -> None:
        while True:
            threading.Thread(target=self._attempt, args=(self._next(),), daemon=True).start()

    def _attempt(self, item: _Queued) -> None:
        found = self._task(item.region, item.name)
        if found is None:
            return
        task, credentials = found
        if task.concurrency == 0:
            self._give_up(task, credentials, item, "ZeroReservedConcurrency")
            return
        if self._clock.timestamp() - item.since > task.max_age:
            self._give_up(task, credentials, item, "EventAgeExceeded")
            return
        try:
            with self._place(task):
                outcome = self._executions.run(task, credentials, item.event, item.request_id)
        except _ThrottledError:  # no try: the event waits until there is a place, or until it is too old
            pause = min(_FIRST_THROTTLED_SECONDS * 2**item.throttled, _LONGEST_THROTTLED_SECONDS)
            item.throttled, item.due = item.throttled + 1, self._clock.timestamp() + pause
            self._put(item)
            return
        item.tries += 1
        if not outcome.error:
            self._send(task, credentials, task.on_success, _record(self._clock, task, item, "Success", outcome))
        elif item.tries > task.retries:
            self._give_up(task, credentials, item, "RetriesExhausted", outcome)
        else:
            item.due = self._clock.timestamp() + _RETRY_SECONDS[min(item.tries, len(_RETRY_SECONDS)) - 1]
            self._put(item)

    def _give_up(
        self,
        task: Task,
        credentials: account.Credentials,
        item: _Queued,
        condition: str,
        outcome: Outcome | None = None,
    ) -> None:
        """Hand the invocation to the destination, and its event to the dead-letter queue."""
        self._send(task, credentials, task.on_failure, _record(self._clock, task, item, condition, outcome))
        payload = outcome.payload if outcome else None
        message = payload.get("errorMessage") if isinstance(payload, dict) else None
        attributes: dict[str, str | int] = {
            "RequestID": item.request_id,
            "ErrorCode": 200 if outcome else 429,
            "ErrorMessage": str(message or condition)[:_DEAD_LETTER_MESSAGE],
        }
        self._send(task, credentials, task.dead_letters, item.event, attributes)

    def _send(
        self,
        task: Task,
        credentials: account.Credentials,
        destination: str,
        document: Any,
        attributes: dict[str, str | int] | None = None,
    ) -> None:
        """Hand a document to a destination, as the function's role, which has to be allowed to."""
        if not destination:
            return
        try:
            self._acting.send(destination, json.dumps(document), task.region, credentials, attributes)
        except Exception as error:  # lost, as on AWS
            self._log(f"function {task.name}: {destination} did not get an event: {error}")


def _record(clock: Clock, task: Task, item: _Queued, condition: str, outcome: Outcome | None) -> dict[str, Any]:
    """What a destination is told about an invocation."""
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": datetime.fromtimestamp(clock.timestamp(), UTC).isoformat(timespec="milliseconds"),
        "requestContext": {
            "requestId": item.request_id,
            "functionArn": f"{task.arn}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": item.tries,
        },
        "requestPayload": item.event,
    }
    if outcome is not None:
        record["responseContext"] = {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": outcome.error,
        }
        record["responsePayload"] = outcome.payload
    return record
