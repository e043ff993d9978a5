"""The process that runs a function once: what Lambda's Python runtime has, and no more. Started by `functions`.

    lambda_runtime.py TASK_ROOT HANDLER RESULT_FD

Standard input has one JSON document: the event, the context and the clock. The answer goes to the file descriptor, so
that whatever the function prints is its log. Uses the standard library alone.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import SimpleNamespace
from typing import Any

# What AWS's runtime carries besides the standard library, as of Python 3.11 to 3.13.
_CARRIED = frozenset({"boto3", "botocore", "s3transfer", "urllib3", "jmespath", "dateutil", "six", "certifi", "awscrt"})


class _OnlyTheRuntimes(MetaPathFinder):
    """Hides the packages of this interpreter's environment that Lambda's runtime does not have."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if path is not None or name in _CARRIED:
            return None
        spec = PathFinder.find_spec(name, path)
        places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
        if any("site-packages" in place for place in places):
            raise ModuleNotFoundError(f"No module named {name!r} (Lambda's runtime does not have it)", name=name)
        return None


class _Context:
    """Lambda's context object."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.aws_request_id = given["request_id"]
        self.function_name = given["function_name"]
        self.function_version = "$LATEST"
        self.invoked_function_arn = given["arn"]
        self.memory_limit_in_mb = str(given["memory"])
        self.log_group_name, self.log_stream_name = given["log_group"], given["log_stream"]
        self.identity, self.client_context = SimpleNamespace(cognito_identity_id=None), None
        self._deadline = time.monotonic() + given["timeout"]

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def _end_with_parent() -> None:
    """A function never outlives the server that runs it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG


def _set_clock(settings: dict[str, float]) -> None:
    """The time of day as the embedded AWS shows it; what measures durations stays the machine's."""
    import datetime as module

    real_time, real = time.time, module.datetime

    def shown() -> float:
        return settings["shown"] + (real_time() - settings["real"]) * settings["rate"]

    class Meta(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, real)

    class Datetime(real, metaclass=Meta):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.fromtimestamp(shown(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return real.fromtimestamp(shown(), module.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return cls.now()

    Datetime.__name__ = Datetime.__qualname__ = "datetime"
    time.time = shown
    module.datetime = Datetime  # type: ignore[misc]


def _answer(result: int, **document: Any) -> None:
    with os.fdopen(result, "w", encoding="utf-8") as stream:
        json.dump(document, stream)


def _failed(result: int, error: BaseException, request_id: str) -> None:
    frames = traceback.format_list(traceback.extract_tb(error.__traceback__)[1:])
    shown = {"errorMessage": str(error), "errorType": type(error).__name__, "requestId": request_id}
    print(f"[ERROR] {type(error).__name__}: {error}\n{''.join(frames)}".rstrip(), flush=True)
    _answer(result, failed=True, payload={**shown, "stackTrace": frames})


def main() -> int:
    _end_with_parent()
    root, handler, result = sys.argv[1], sys.argv[2], int(sys.argv[3])
    given = json.load(sys.stdin)
    os.chdir(root)
    sys.path.insert(0, root)
    sys.meta_path.insert(0, _OnlyTheRuntimes())
    _set_clock(given["clock"])
    context = _Context(given["context"])
    try:
        module, _, name = handler.rpartition(".")
        answer = getattr(importlib.import_module(module.replace("/", ".")), name)(given["event"], context)
        payload = json.loads(json.dumps(answer))  # a value that is no JSON is the function's failure
    except BaseException as error:
        _failed(result, error, context.aws_request_id)
        return 1
    _answer(result, failed=False, payload=payload)
    return 0


if __name__ == "__main__":
    sys.exit(main())
