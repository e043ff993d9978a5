"""The embedded AWS itself: moto's server on the loopback interface, with a record of every API call.

    GET    /_algo/calls     what was called, as JSON
    DELETE /_algo/calls     forget it
    GET    /_algo/ping      who answers here: {"server": "algo.trading", "token": …, "pid": …}

moto's own control API (`/moto-api/reset` and others) is there as well. State lives in this process's memory:
when it ends, the account is empty again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import io
import json
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import aws_calls
import embedded_aws

HOST = "127.0.0.1"
# Calls that wait by design; everything else goes one at a time, because moto's tables are not safe to share.
_WAITING = frozenset({"ReceiveMessage", "Invoke"})
_REMEMBERED = 200_000


def _settings(state: Path) -> None:
    """moto reads these when it is imported."""
    os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")  # roles attach AmazonSSMManagedInstanceCore
    os.environ.setdefault("MOTO_LAMBDA_DATA_DIR", str(state / "lambda"))  # else below the machine's /tmp
    os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "false")
    # moto itself asks boto3 for names now and then; it must never look for, or find, somebody's real account.
    os.environ.update(
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",  # noqa: S106 - plainly no secret
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"):
        os.environ.pop(name, None)


def _heed_conditions() -> None:
    """moto takes a bucket policy's statement with a condition for one that always holds.

    "Deny all that comes without TLS" would then lock everybody out of a bucket's objects. Statements with conditions
    are kept and shown as they are, and are not enforced.
    """
    from moto.iam.access_control import IAMPolicy
    from moto.s3.models import FakeBucket

    def get_permission(self: FakeBucket, action: str, resource: str) -> Any:
        policy = json.loads(self.policy or b'{"Statement": []}')
        statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
        plain = [statement for statement in statements if "Condition" not in statement]
        return IAMPolicy(json.dumps({**policy, "Statement": plain})).is_action_permitted(action, resource)

    FakeBucket.get_permission = get_permission  # type: ignore[method-assign]


def _find_tags_by_resource() -> None:
    """moto looks through all tags of the account for those of one resource, for each resource that it answers with.

    A thousand instances with a dozen tags each, and their disks, would take it half a minute to list.
    """
    from moto.ec2.models.core import TaggedEC2Resource
    from moto.ec2.utils import EC2_PREFIX_TO_RESOURCE, get_prefix

    def get_tags(self: Any) -> list[dict[str, str]]:
        kind = EC2_PREFIX_TO_RESOURCE.get(get_prefix(self.id), "") if self.id else ""
        tags = self.ec2_backend.tags.get(self.id, {}) if self.id else {}
        return [{"resource_id": self.id, "key": key, "value": tags[key], "resource_type": kind} for key in tags]

    TaggedEC2Resource.get_tags = get_tags  # type: ignore[method-assign]


class Recorder:
    """WSGI middleware: notes each API call, and lets moto see one request at a time."""

    def __init__(self, app: Callable[..., Iterable[bytes]], log: Callable[[str], None]) -> None:
        self._app = app
        self.token = ""
        self._log = log
        self._one_at_a_time = threading.Lock()
        self._calls: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/_algo/"):
            return self._own(environ, path, start_response)
        if path.startswith("/moto-api"):
            with self._one_at_a_time:
                return list(self._app(environ, start_response))
        return self._recorded(environ, start_response)

    def _own(self, environ: dict[str, Any], path: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer: Any = {"server": "algo.trading", "token": self.token, "pid": os.getpid()}
        status = "200 OK"
        if path == "/_algo/calls":
            answer = list(self._calls)
            if environ.get("REQUEST_METHOD") == "DELETE":
                self._calls.clear()
        elif path != "/_algo/ping":
            status, answer = "404 Not Found", {"error": f"nothing at {path}"}
        body = json.dumps(answer).encode()
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _recorded(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = self._body(environ)
        access_key, region, service = aws_calls.credential_scope(environ)
        name = aws_calls.operation(service or "s3", environ, body)
        call = {
            "service": service,
            "operation": name,
            "write": aws_calls.is_write(service, name, body),
            "region": region,
            "access_key": access_key,
            "status": 0,
        }

        def note(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            call["status"] = int(status.split()[0])
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        began = time.monotonic()
        self._calls.append(call)
        with contextlib.nullcontext() if name in _WAITING else self._one_at_a_time:
            chunks = list(self._app(environ, note))
        self._log(f"{service or '-'}:{name} {call['status']} {1000 * (time.monotonic() - began):.0f} ms")
        return chunks

    @staticmethod
    def _body(environ: dict[str, Any]) -> bytes:
        """Reads the body once and puts it back for moto."""
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            body = environ["wsgi.input"].read()
        else:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        return bytes(body)


def _end_with_parent() -> None:
    """A server that a test started must not outlive it, however the test ends: our standard input closes then."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _lock(path: Path) -> bool:
    """Takes the lock that stands for "this clone's server lives"; the system lets go of it when we end."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(100):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:  # who looks whether a server lives shares the lock for a moment; only a server has it alone
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_UN)
        except BlockingIOError:
            break
        time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - spreads retries, keeps no secret
    os.close(handle)
    return False


def _end_with_directory(lock: Path, inode: int) -> None:
    """Whoever deletes `.local`, or the whole clone, means us too."""

    def watch() -> None:
        while True:
            time.sleep(2)
            try:
                if lock.stat().st_ino == inode:
                    continue
            except OSError:
                pass
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="directory for what the server writes")
    life = parser.add_mutually_exclusive_group()
    life.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    life.add_argument("--keep", action="store_true", help="live on, as the one server of the state directory")
    args = parser.parse_args(argv)

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    if args.keep and not _lock(args.state / "lock"):
        return embedded_aws.ALREADY_THERE
    _settings(args.state)

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    _heed_conditions()
    _find_tags_by_resource()

    class Handler(MotoRequestHandler):
        # Werkzeug writes head and body apart; with Nagle's algorithm each answer would cost 40 ms.
        disable_nagle_algorithm = True

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    def log(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    app = Recorder(DomainDispatcherApplication(create_backend_app), log)
    try:
        server = make_server(HOST, args.port, app, threaded=True, request_handler=Handler)
    except SystemExit:  # Werkzeug's way to say that the port is taken
        return embedded_aws.PORT_TAKEN
    os.environ["MOTO_PORT"] = str(server.port)
    if args.with_parent:
        _end_with_parent()
    if args.keep:
        lock = args.state / "lock"
        record = embedded_aws.new_record(server.port, lock.stat().st_ino)
        app.token = record.token
        embedded_aws.State(args.state).write(record)
        _end_with_directory(lock, record.lock)
    print(json.dumps({"port": server.port, "pid": os.getpid()}), flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
