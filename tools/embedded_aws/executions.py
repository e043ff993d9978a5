"""One execution of a function: its zip in a process of its own, as its role, within its time and memory limits."""

from __future__ import annotations

import contextlib
import hashlib
import io
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import account
from .acting import Acting
from .clock import Clock

_RUNTIME = Path(__file__).with_name("lambda_runtime.py")
_LOOK_SECONDS = 0.02
_RETRIES, _MAX_AGE = 2, 21_600.0


@dataclass(frozen=True)
class Outcome:
    """Result of one execution."""

    request_id: str
    payload: Any
    error: str = ""  # `Unhandled`, where it failed
    log: bytes = b""


@dataclass(frozen=True)
class Task:
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
    dead_letters: str
    concurrency: int | None  # how many may run at once; None: any number

    @property
    def log_group(self) -> str:
        return f"/aws/lambda/{self.name}"

    @classmethod
    def of(cls, function: Any, region: str) -> Task:
        config: dict[str, Any] = next((each.config for each in function.event_invoke_config), {})
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
            dead_letters=function.dead_letter_config.get("TargetArn", ""),
            concurrency=None if function.reserved_concurrency is None else int(function.reserved_concurrency),
        )


class Executions:
    """Runs tasks.

    :param directory: where unpacked code lies
    :param clock: the time that functions see
    :param network: what a command line begins with to run where functions run, and the endpoint there; or nothing
    """

    def __init__(
        self, directory: Path, clock: Clock, acting: Acting, network: Callable[[], tuple[list[str], str]]
    ) -> None:
        self._directory, self._clock, self._acting, self._network = directory, clock, acting, network
        self._unpacking = threading.Lock()

    def run(self, task: Task, credentials: account.Credentials, event: Any, request_id: str) -> Outcome:
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
            try:
                ended = self._process(task, credentials, json.dumps(document).encode(), output, result)
            except (zipfile.BadZipFile, OSError) as error:
                ended = _End("", f"The code of the function cannot be run: {error}", 0)
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

    def _process(self, task: Task, credentials: account.Credentials, document: bytes, output: Any, result: Any) -> _End:
        inside, endpoint = self._network()
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
            "AWS_ENDPOINT_URL": endpoint or self._acting.endpoint(),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "*",
            "no_proxy": "*",
            **credentials.environment(),
        }
        command = [
            *inside,
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

    def _unpacked(self, task: Task) -> Path:
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

    def _keep_log(self, task: Task, credentials: account.Credentials, stream: str, text: str) -> None:
        """Write the log as the function's role, which has to be allowed to: else it is lost, as on AWS."""
        logs = self._acting.client("logs", task.region, credentials)
        now = int(time.time() * 1000)  # a moved clock's would be too old or too new for moto
        events = [{"timestamp": now, "message": line} for line in text.splitlines() if line]
        with contextlib.suppress(Exception):
            logs.create_log_group(logGroupName=task.log_group)
        with contextlib.suppress(Exception):
            logs.create_log_stream(logGroupName=task.log_group, logStreamName=stream)
            logs.put_log_events(logGroupName=task.log_group, logStreamName=stream, logEvents=events)


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
