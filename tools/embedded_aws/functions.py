"""Lambda functions run: `Invoke` starts the deployed zip in a process of its own, as its role, within its limits.

Asynchronous invocations are queued, tried again one and two minutes later on the clock, and end in the function's
destinations. https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import heapq
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from . import account
from .acting import Acting
from .clock import Clock
from .recording import Answer, Request

_RUNTIME = Path(__file__).with_name("lambda_runtime.py")
_LOOK_SECONDS = 0.02
_LOG_RESULT_BYTES = 4096
_RETRIES, _MAX_AGE = 2, 21_600.0
_RETRY_SECONDS = (60.0, 120.0)


@dataclass(frozen=True)
class Outcome:
    """Result of one execution."""

    request_id: str
    payload: Any
    error: str = ""  # `Unhandled`, where it failed
    log: bytes = b""


@dataclass(frozen=True)
class _Task:
    """What is to be run, taken from moto's function under its lock."""

    name: str
    arn: str
    handler: str
    role: str
    region: str
    timeout: float
    memory: int
    code: bytes
    variables: dict[str, str]
    retries: int
    max_age: float
    on_success: str
    on_failure: str

    @property
    def log_group(self) -> str:
        return f"/aws/lambda/{self.name}"

    @classmethod
    def of(cls, function: Any, region: str) -> _Task:
        configs = function.event_invoke_config
        config = configs[-1].config if configs else {}
        destinations = config.get("DestinationConfig") or {}
        return cls(
            name=function.function_name,
            arn=function.function_arn,
            handler=function.handler,
            role=function.role,
            region=region,
            timeout=float(function.timeout or 3),
            memory=int(function.memory_size or 128),
            code=function.code_bytes,
            variables={name: str(value) for name, value in (function.environment_vars or {}).items()},
            retries=int(config.get("MaximumRetryAttempts", _RETRIES)),
            max_age=float(config.get("MaximumEventAgeInSeconds", _MAX_AGE)),
            on_success=(destinations.get("OnSuccess") or {}).get("Destination", ""),
            on_failure=(destinations.get("OnFailure") or {}).get("Destination", ""),
        )


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


class Functions:
    """Runs functions.

    :param directory: where unpacked code lies
    :param clock: the time that functions see
    :param moto: held while moto's tables are looked at
    """

    def __init__(self, directory: Path, clock: Clock, moto: AbstractContextManager[Any], acting: Acting) -> None:
        self._directory = directory
        self._clock = clock
        self._moto = moto
        self._acting = acting
        self._queue: list[_Queued] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._unpacking = threading.Lock()
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
        outcome = None if kind == "DryRun" else self.run(request.region, name, event)
        if outcome is None:
            return None
        headers = {"Content-Type": "application/json", "x-amzn-RequestId": outcome.request_id}
        headers["X-Amz-Executed-Version"] = "$LATEST"
        if outcome.error:
            headers["X-Amz-Function-Error"] = outcome.error
        if request.headers.get("x-amz-log-type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log[-_LOG_RESULT_BYTES:]).decode()
        return Answer("200 OK", headers, json.dumps(outcome.payload).encode())

    def run(self, region: str, name: str, event: Any, request_id: str = "") -> Outcome | None:
        """Run a function and wait for it; None if there is no such function."""
        with self._moto:
            function = account.function(region, name)
            if function is None:
                return None
            task = _Task.of(function, region)
            credentials = account.assume(task.role, task.name, region)
        return self._execute(task, credentials, event, request_id or str(uuid.uuid4()))

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

    # One execution

    def _execute(self, task: _Task, credentials: account.Credentials, event: Any, request_id: str) -> Outcome:
        began = time.monotonic()
        stream = f"{self._clock.now():%Y/%m/%d}/[$LATEST]{uuid.uuid4().hex}"
        document = {
            "event": event,
            "clock": self._clock.settings(),
            "context": {
                "request_id": request_id,
                "function_name": task.name,
                "arn": task.arn,
                "memory": task.memory,
                "timeout": task.timeout,
                "log_group": task.log_group,
                "log_stream": stream,
            },
        }
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as result:
            ended = self._process(task, credentials, json.dumps(document).encode(), output, result)
            output.seek(0)
            result.seek(0)
            printed, answer = output.read(), result.read()
        said = json.loads(answer) if answer and not ended.problem else {"failed": True, "payload": None}
        if not answer or ended.problem:
            problem = ended.problem or f"RequestId: {request_id} Error: Runtime exited with {ended.how}"
            kind = "Sandbox.Timedout" if "timed out" in problem else "Runtime.ExitError"
            said["payload"] = {"errorType": kind, "errorMessage": problem}
            printed += f"{problem}\n".encode()
        milliseconds = (time.monotonic() - began) * 1000
        log = (
            f"START RequestId: {request_id} Version: $LATEST\n".encode()
            + printed
            + f"END RequestId: {request_id}\nREPORT RequestId: {request_id}\tDuration: {milliseconds:.2f} ms\t"
            f"Billed Duration: {int(milliseconds) + 1} ms\tMemory Size: {task.memory} MB\t"
            f"Max Memory Used: {ended.megabytes} MB\n".encode()
        )
        self._keep_log(task, credentials, stream, log.decode(errors="replace"))
        return Outcome(request_id, said["payload"], "Unhandled" if said["failed"] else "", log)

    def _process(
        self, task: _Task, credentials: account.Credentials, document: bytes, output: Any, result: Any
    ) -> _End:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": "/tmp",  # noqa: S108 - as in Lambda
            "LAMBDA_TASK_ROOT": str(self._unpacked(task)),
            "_HANDLER": task.handler,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info[0]}.{sys.version_info[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": task.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(task.memory),
            "AWS_LAMBDA_LOG_GROUP_NAME": task.log_group,
            "AWS_REGION": task.region,
            "AWS_DEFAULT_REGION": task.region,
            **task.variables,
            # The function must not reach another AWS or use another identity.
            "AWS_ENDPOINT_URL": self._acting.endpoint(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "*",
            "no_proxy": "*",
            **credentials.environment(),
        }
        command = [
            sys.executable,
            "-I",
            "-u",
            str(_RUNTIME),
            environment["LAMBDA_TASK_ROOT"],
            task.handler,
            str(result.fileno()),
        ]
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[result.fileno()],
            start_new_session=True,
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(document)
            process.stdin.close()
        return _watch(process, task.timeout, task.memory)

    def _unpacked(self, task: _Task) -> Path:
        """The folder with the function's code, unpacked once for each content."""
        root = self._directory / hashlib.sha256(task.code).hexdigest()[:32]
        with self._unpacking:
            if not root.is_dir():
                partial = root.with_name(f".{root.name}")
                shutil.rmtree(partial, ignore_errors=True)
                with zipfile.ZipFile(io.BytesIO(task.code)) as archive:
                    archive.extractall(partial)
                partial.rename(root)
        return root

    def _keep_log(self, task: _Task, credentials: account.Credentials, stream: str, text: str) -> None:
        """Write the log as the function's role, which has to be allowed to: else it is lost, as on AWS."""
        logs = self._acting.client("logs", task.region, credentials)
        now = int(time.time() * 1000)  # a moved clock's would be too old or too new for moto
        events = [{"timestamp": now, "message": line} for line in text.splitlines() if line]
        with contextlib.suppress(Exception):
            logs.create_log_group(logGroupName=task.log_group)
        with contextlib.suppress(Exception):
            logs.create_log_stream(logGroupName=task.log_group, logStreamName=stream)
            logs.put_log_events(logGroupName=task.log_group, logStreamName=stream, logEvents=events)

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
        with self._moto:
            function = account.function(item.region, item.name)
            if function is None:
                return
            task = _Task.of(function, item.region)
            credentials = account.assume(task.role, task.name, item.region)
        if self._clock.timestamp() - item.since > task.max_age:
            self._send(task, credentials, task.on_failure, item, "EventAgeExceeded", None)
            return
        outcome = self._execute(task, credentials, item.event, item.request_id)
        item.tries += 1
        if not outcome.error:
            self._send(task, credentials, task.on_success, item, "Success", outcome)
        elif item.tries > task.retries:
            self._send(task, credentials, task.on_failure, item, "RetriesExhausted", outcome)
        else:
            item.due = self._clock.timestamp() + _RETRY_SECONDS[min(item.tries, len(_RETRY_SECONDS)) - 1]
            self._put(item)

    def _send(
        self,
        task: _Task,
        credentials: account.Credentials,
        destination: str,
        item: _Queued,
        condition: str,
        outcome: Outcome | None,
    ) -> None:
        """Hand the record of an invocation to a destination, as the function's role."""
        if not destination:
            return
        record = {
            "version": "1.0",
            "timestamp": datetime.fromtimestamp(self._clock.timestamp(), UTC).isoformat(timespec="milliseconds"),
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
        self._acting.send(destination, json.dumps(record), task.region, credentials)


@dataclass(frozen=True)
class _End:
    how: str
    problem: str
    megabytes: int


def _watch(process: subprocess.Popen[bytes], timeout: float, memory: int) -> _End:
    """Wait for the process; end it where it takes too long or too much."""
    deadline = time.monotonic() + timeout
    most, problem = 0, ""
    while not _ended(process):
        most = max(most, _resident_megabytes(process.pid))
        if most > memory:
            problem = "Runtime exited with error: signal: killed (out of memory)"
        elif time.monotonic() > deadline:
            problem = f"Task timed out after {timeout:.2f} seconds"
        if problem:
            break
        time.sleep(_LOOK_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):  # what the function left running ends with it
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    return _End(f"exit status {code}" if code >= 0 else f"signal {-code}", problem, most)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process is over. It keeps its id until somebody waits for it, so that no other's group is ended."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None


def _resident_megabytes(pid: int) -> int:
    """Memory that a process uses; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20
