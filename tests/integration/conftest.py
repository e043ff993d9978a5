"""A private AWS for each test process, and real runs of ansible-playbook against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.tests.integration.order import (  # noqa: F401 - hooks
    pytest_collection_modifyitems,
    pytest_xdist_make_scheduler,
)

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"
_UNWANTED = re.compile(r"^(AWS_|BOTO_|ANSIBLE_|ALGO_|EC2_|PYTHONPATH$)")
_RECAP = re.compile(r"^(\S+)\s+: (ok=\d+\s.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """One API call as the server saw it."""

    service: str
    operation: str
    write: bool
    status: int
    region: str
    access_key: str

    @property
    def by_role(self) -> bool:
        """Whether it was made with a role's short-lived keys (AWS and moto give theirs this prefix)."""
        return self.access_key.startswith("ASIA")


class Aws:
    """The embedded AWS of one test process."""

    def __init__(self, endpoint: str, home: Path) -> None:
        self.endpoint = endpoint
        self.region = REGION
        self.home = home
        self._refusals_seen = 0

    @property
    def env(self) -> dict[str, str]:
        """The environment for a subprocess: ours alone, so that nobody's account or settings leak in."""
        env = {name: value for name, value in os.environ.items() if not _UNWANTED.match(name)}
        path = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
        local = f"127.0.0.1,localhost,{env.get('NO_PROXY', env.get('no_proxy', ''))}".rstrip(",")
        return env | {
            "PATH": path,
            "HOME": str(self.home),
            "NO_PROXY": local,
            "no_proxy": local,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "PYTHONUNBUFFERED": "1",
            "LC_ALL": "C.UTF-8",
        }

    def client(self, service: str, region: str = REGION, access_key: str = "testing") -> Any:
        """A boto3 client for this AWS."""
        import boto3
        from botocore.config import Config

        session: Any = boto3.session.Session()  # with type stubs, `client` would accept literal names only
        return session.client(
            service,
            region_name=region,
            endpoint_url=self.endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key="testing",
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    def calls(
        self, *, write: bool | None = None, service: str | None = None, by_role: bool | None = None
    ) -> list[Call]:
        """The API calls since the last reset, oldest first.

        :param write: only those that change something, or only the others
        :param by_role: only those of hosts and functions, which come at any time, or only the operator's
        """
        found = [Call(**call) for call in json.loads(self._http("GET", "/_algo/calls"))]
        return [
            call
            for call in found
            if write in (None, call.write) and service in (None, call.service) and by_role in (None, call.by_role)
        ]

    def count(self, **which: Any) -> Counter[str]:
        """How often each `service:Operation` was called; takes what `calls` takes."""
        return Counter(f"{call.service}:{call.operation}" for call in self.calls(**which))

    def forget_calls(self) -> None:
        """Starts counting from zero; the account stays as it is."""
        self._http("DELETE", "/_algo/calls")

    def reset(self) -> None:
        """Empties the account and the record of calls."""
        self._http("POST", "/moto-api/reset")
        self._refusals_seen = 0
        self.forget_calls()

    def permissions(self) -> dict[str, Any]:
        """Which calls of roles were refused, and which statements of their policies no call has needed."""
        return dict(json.loads(self._http("GET", "/_algo/permissions")))

    def refused_to_environments(self) -> list[dict[str, Any]]:
        """What roles of environments were refused since this was asked last.

        Without a function's own log group: Lambda tries to make it, and nothing gives its role the permission, so that
        there is never one without our tags. On AWS it is refused in the same way.
        """
        found = [
            each
            for each in self.permissions()["refused"]
            if ":role/algo-trading-" in each["role"] and each["action"] != "logs:CreateLogGroup"
        ]
        seen = self._refusals_seen if self._refusals_seen <= len(found) else 0  # a test has it forgotten
        self._refusals_seen = len(found)
        return found[seen:]

    def hold(self, *operations: str) -> None:
        """Answers these calls, `service:Operation`, no more, until `release`; then they are refused."""
        self._http("PUT", "/_algo/interruptions", json.dumps({"operations": operations}).encode())

    def held(self) -> list[str]:
        """The calls that wait."""
        return list(json.loads(self._http("GET", "/_algo/interruptions"))["waiting"])

    def answer_after(self, seconds: float) -> None:
        """Each call takes so much longer, until `release`."""
        self._http("PUT", "/_algo/interruptions", json.dumps({"latency": seconds}).encode())

    def latency(self) -> float:
        return float(json.loads(self._http("GET", "/_algo/interruptions"))["latency"])

    def release(self) -> None:
        self._http("DELETE", "/_algo/interruptions")

    def _http(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.endpoint + path, data=body, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            return bytes(answer.read())


@dataclass(frozen=True)
class Run:
    """What a real ansible-playbook run came to."""

    rc: int
    stdout: str
    stderr: str
    plan_path: Path
    recap: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def plan(self) -> Any:
        """The machine-readable summary that the plan callback wrote; None if it wrote none."""
        return json.loads(self.plan_path.read_text()) if self.plan_path.is_file() else None

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def total(self, what: str) -> int:
        """The sum over all hosts of one recap column: ok, changed, failed, unreachable, skipped."""
        return sum(host.get(what, 0) for host in self.recap.values())


class Playbook:
    """Runs ansible-playbook of the interpreter that runs the tests, as a person would, from the checkout."""

    def __init__(self, aws: Aws, tmp: Path) -> None:
        self._aws = aws
        self._tmp = tmp
        self._runs = 0

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str | None] | None = None,
        extra: Mapping[str, Any] | None = None,
        endpoint: bool = True,
        check: bool | None = None,
        cwd: Path = ROOT,
        timeout: float = 1200,
        stdin: str | None = None,
    ) -> Run:
        """Run with `args`; `extra` are extra variables, `endpoint` points every inventory at the embedded AWS.

        A value of None in `env` removes the variable. `check=True` fails the test at once when the run fails.
        """
        self._runs += 1
        plan = self._tmp / f"plan-{self._runs}.json"
        variables: dict[str, Any] = {"algo_endpoint_url": self._aws.endpoint} if endpoint else {}
        variables |= extra or {}
        command: list[str] = [str(Path(sys.executable).parent / "ansible-playbook"), *map(str, args)]
        if variables:
            command += ["-e", json.dumps(variables)]
        full = self._aws.env | {"ALGO_PLAN_JSON": str(plan)} | dict(env or {})
        done = subprocess.run(
            command,
            cwd=cwd,
            env={name: value for name, value in full.items() if value is not None},
            text=True,
            capture_output=True,
            timeout=timeout,
            input=stdin or "",
        )
        run = Run(done.returncode, done.stdout, done.stderr, plan, _recap(done.stdout))
        if check:
            assert run.rc == 0, f"{' '.join(command)} ended with {run.rc}\n{run.stdout[-8000:]}\n{run.stderr[-4000:]}"
        return run


def _recap(stdout: str) -> dict[str, dict[str, int]]:
    return {
        host: {name: int(value) for name, value in (item.split("=") for item in columns.split() if "=" in item)}
        for host, columns in _RECAP.findall(stdout)
    }


def start_aws(state: Path, *options: str) -> subprocess.Popen[bytes]:
    """Starts a server that ends when its standard input closes, so that it cannot outlive the tests."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "server.log").open("wb") as log:
        return subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "tools" / "embedded_aws"),
                "serve",
                "--state",
                str(state),
                "--with-parent",
                *options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )


@pytest.fixture(scope="session")
def _aws_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    base = tmp_path_factory.mktemp("aws")
    server = start_aws(base / "state")
    assert server.stdin
    assert server.stdout
    said = server.stdout.readline()
    if not said:
        pytest.fail(f"the embedded AWS did not start:\n{(base / 'state' / 'server.log').read_text()}")
    home = base / "home"
    home.mkdir()
    yield Aws(f"http://127.0.0.1:{json.loads(said)['port']}", home)
    server.stdin.close()
    server.wait(timeout=30)
    server.stdout.close()


@pytest.fixture(scope="session")
def aws(_aws_server: Aws) -> Aws:
    """An AWS of this test process's own. It is shared by its tests: call `aws.reset()` first, or use `fresh_aws`."""
    return _aws_server


@pytest.fixture(autouse=True)
def _roles_may_do_what_they_do(request: pytest.FixtureRequest) -> Iterator[None]:
    """No call of an environment's host, function or schedule is refused: each is judged by its own role's policy.

    Roles that tests make to be refused have other names.
    """
    yield
    servers: list[Aws] = [request.getfixturevalue(name) for name in ("_aws_server",) if name in request.fixturenames]
    servers += [request.getfixturevalue(name).aws for name in ("yard",) if name in request.fixturenames]
    assert [each for server in servers for each in server.refused_to_environments()] == []


@pytest.fixture
def fresh_aws(_aws_server: Aws) -> Aws:
    """The same AWS with an empty account."""
    _aws_server.reset()
    return _aws_server


@pytest.fixture
def playbook(_aws_server: Aws, tmp_path: Path) -> Playbook:
    """`playbook("-i", "inventories/qa", "site.yml", check=True)` runs it for real and returns a `Run`."""
    return Playbook(_aws_server, tmp_path)


@pytest.fixture(scope="module")
def shared_playbook(_aws_server: Aws, tmp_path_factory: pytest.TempPathFactory) -> Playbook:
    """The same for a whole module, whose tests walk through one environment's life."""
    return Playbook(_aws_server, tmp_path_factory.mktemp("runs"))


Tasks = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def tasks(_aws_server: Aws, playbook: Playbook, tmp_path: Path) -> Tasks:
    """`tasks({"algo.trading.x": {…}}, …)` runs tasks in one real play and returns each one's registered result.

    Connection options are set for all modules of amazon.aws and of ours. A task may carry keywords like
    `check_mode`; one that fails does not stop the others. `check=True`, `diff=True` run the play so.
    """

    def run(*given: dict[str, Any], check: bool = False, diff: bool = False) -> list[dict[str, Any]]:
        outcome = tmp_path / "outcome.json"
        outcome.unlink(missing_ok=True)
        connection = {"endpoint_url": _aws_server.endpoint, "region": REGION}
        steps: list[dict[str, Any]] = [
            {"name": f"Step {number}", "ignore_errors": True, "register": f"step_{number}", **step}
            for number, step in enumerate(given)
        ]
        results = ", ".join(f"step_{number}" for number in range(len(given)))
        steps.append(
            {
                "name": "Keep results",
                "ansible.builtin.copy": {"content": f"{{{{ [{results}] | to_json }}}}", "dest": str(outcome)},
                "check_mode": False,
                "diff": False,
            }
        )
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "module_defaults": {"group/amazon.aws.aws": connection, "group/algo.trading.aws": connection},
            "tasks": steps,
        }
        path = tmp_path / "tasks.yml"
        path.write_text(json.dumps([play]))
        flags = [flag for flag, on in (("--check", check), ("--diff", diff)) if on]
        environment = {"ANSIBLE_STDOUT_CALLBACK": "default"}
        playbook("-i", "localhost,", "-c", "local", *flags, path, check=True, env=environment)
        found: list[dict[str, Any]] = json.loads(outcome.read_text())
        return found

    return run
