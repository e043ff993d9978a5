"""Runs the project's checks: the same commands for a person, for one target of make, and for CI.

    check.py --venv .venv [--venv .venv-python3.12] [PART ...] [-- ARGUMENTS FOR THE PART]

Without a part it runs all of them. With several environments, what depends on the versions of Python and Ansible runs
once in each. Ends in one line that counts everything: pytest's tests one by one, any other check as one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
SERVICE = ROOT / "services" / "alpaca_websocket"
COMMON_PROGRAM = "roles/common/files"
HOST_PROGRAM = "roles/trading_server/files"
MLFLOW_PROGRAM = "roles/mlflow_server/files"
GPU_PROGRAM = "roles/gpu_host/files"
PROGRAMS = (COMMON_PROGRAM, HOST_PROGRAM, MLFLOW_PROGRAM, GPU_PROGRAM)
_COUNTS = re.compile(r"(\d+) (passed|failed|skipped|error|errors|xfailed|xpassed)\b")
_SUMMARY = re.compile(
    r"^=* ?(?:\d+ (?:passed|failed|skipped|errors?|xfailed|xpassed|deselected|warnings?)(?:, )?)+ in "
)
_SAY = threading.Lock()
# Seconds. Several times what the longest check takes: one that hangs is ended and named, instead of taking CI with it.
_HANGS_AFTER = 2700
_RUNNING: set[subprocess.Popen[str]] = set()
# One more than there are cores: checks and tests also wait, for hosts that boot and for programs that answer.
_SIDE_BY_SIDE = min(4, (os.cpu_count() or 1) + 1)
# What the older dependency set runs; the newest runs all. Of the integration tests, what meets most of Ansible and
# amazon.aws; of the market-data server's, what meets most of Python: both sets have its other packages in common.
_INTEGRATION_CORE = (
    "test_site.py",
    "test_settings.py",
    "test_plan_callback.py",
    "test_s3_models.py",
    "test_warm_module.py",
    "fleet/test_module.py",
)
_SERVICES_CORE = (
    "client",
    "clients/test_alpaca_py.py",
    "clients/test_kill.py",
    "downstream",
    "observe",
    "store/test_store.py",
    "test_pipeline.py",
    "test_protocol.py",
    "test_settings.py",
    "test_websocket.py",
    "test_wheel.py",
    "upstream",
)
_CORE = {
    "integration": [f"tests/integration/{name}" for name in _INTEGRATION_CORE],
    "services": [f"tests/{name}" for name in _SERVICES_CORE],
}
# They run the whole site several times over, and show nothing that depends on a version.
_CORE["integration"] += [
    f"--deselect=tests/integration/test_site.py::{name}"
    for name in (
        "test_a_part_is_run_by_limit_by_tag_and_by_its_own_playbook",
        "test_the_dashboard_shows_every_alarm_and_asks_only_for_what_there_is",
        "test_a_missing_permission_is_named_and_nothing_is_changed",
        "test_the_operator_needs_what_the_page_says_and_nothing_else_was_tried",
    )
]


@dataclass(frozen=True)
class Venv:
    path: Path

    @property
    def name(self) -> str:
        """The dependency set: 3.11, or 3.12 and later."""
        return "3.12" if self.version >= (3, 12) else "3.11"

    @property
    def version(self) -> tuple[int, int]:
        config = (self.path / "pyvenv.cfg").read_text()
        found = re.search(r"^version\s*=\s*(\d+)\.(\d+)", config, re.MULTILINE)
        if not found:
            raise SystemExit(f"{self.path} is not a virtual environment")
        return int(found[1]), int(found[2])

    @property
    def python(self) -> str:
        return str(self.path / "bin" / "python")

    def program(self, name: str) -> str:
        return str(self.path / "bin" / name)

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of the caller's own Ansible or AWS settings, and nothing written outside the clone."""
        unwanted = re.compile(
            r"^(ANSIBLE_|AWS_|BOTO_|EC2_|ALGO_|MOLECULE_|PYTEST_"
            r"|PYTHONPATH$|PYTHONHOME$|PYTHONDONTWRITEBYTECODE$|VIRTUAL_ENV$)"
        )
        env = {name: value for name, value in os.environ.items() if not unwanted.match(name)}
        work = CACHE / self.name
        (work / "tmp").mkdir(parents=True, exist_ok=True)
        return (
            env
            | {
                "PATH": f"{self.path / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}",
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_HOME": str(work / "ansible"),
                "ANSIBLE_NOCOLOR": "1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "PYTEST_DEBUG_TEMPROOT": str(work / "tmp"),
                "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(CACHE / "pip")),
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "LC_ALL": "C.UTF-8",
                "PY_COLORS": "0",
                "COLUMNS": "160",
            }
            | more
        )


@dataclass(frozen=True)
class Check:
    """One command."""

    name: str
    command: Sequence[str]
    venv: Venv
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    alone: bool = False  # has processes of its own enough to fill the machine


@dataclass
class Result:
    check: Check
    ok: bool
    seconds: float
    cpu_seconds: float  # without what runs on in the background, such as hosts
    counts: dict[str, int]


def pytest(venv: Venv, name: str, *args: str, alone: bool = False, cwd: Path = ROOT) -> Check:
    cache = f"cache_dir={CACHE / venv.name / 'pytest'}"
    return Check(name, [venv.python, "-m", "pytest", "-q", "-o", cache, *args], venv, alone=alone, cwd=cwd)


def lint(venv: Venv, args: Sequence[str]) -> list[Check]:
    # ansible-lint resolves our own names and amazon.aws's through the environment's Ansible.
    collections = {"ANSIBLE_COLLECTIONS_PATH": f"{ROOT / 'collections'}"}
    return [
        Check("ruff check", [venv.program("ruff"), "check", "--no-cache", *(args or ["."])], venv),
        Check("ruff format", [venv.program("ruff"), "format", "--no-cache", "--check", *(args or ["."])], venv),
        Check("yamllint", [venv.program("yamllint"), "--strict", *(args or ["."])], venv),
        Check("settings page", [venv.python, "tools/settings_doc.py", "--check"], venv),
        Check("exchange calendar", [venv.python, "tools/exchange_calendar.py", "--check"], venv),
        Check("ansible-lint", [venv.program("ansible-lint"), "--strict", *args], venv, env=collections),
    ]


def types(venv: Venv, args: Sequence[str]) -> list[Check]:
    mypy = [venv.program("mypy"), "--namespace-packages", "--explicit-package-bases", *args]
    package = "ansible_collections.algo.trading"
    cache = f"--cache-dir={CACHE / 'mypy'}"
    tests = [f"-p{package}.tests.{part.name}" for part in _packages(ROOT / "tests")]
    return [
        Check("mypy plugins", [*mypy, cache, f"-p{package}.plugins"], venv, env={"MYPYPATH": "collections"}),
        Check(
            "mypy tests",
            [*mypy, f"{cache}-tests", *tests],
            venv,
            env={"MYPYPATH": ":".join(["tests/integration", "collections", "lambda", *PROGRAMS])},
        ),
        Check(
            "mypy algo_ship_logs", [*mypy, f"{cache}-logs", "-malgo_ship_logs"], venv, env={"MYPYPATH": COMMON_PROGRAM}
        ),
        Check(
            "mypy algo_host",
            [*mypy, f"{cache}-algo_host", "-palgo_host", "-mtrading_code"],
            venv,
            env={"MYPYPATH": HOST_PROGRAM},
        ),
        Check("mypy mlflow_host", [*mypy, f"{cache}-mlflow", "-pmlflow_host"], venv, env={"MYPYPATH": MLFLOW_PROGRAM}),
        Check("mypy gpu_host", [*mypy, f"{cache}-gpu_host", "-pgpu_host"], venv, env={"MYPYPATH": GPU_PROGRAM}),
        Check("mypy tools", [*mypy, f"{cache}-tools", "tools"], venv, env={"MYPYPATH": "tools"}),
        *(
            Check(f"mypy {tree.name}", [*mypy, f"{cache}-{tree.name}", str(tree)], venv, env={"MYPYPATH": path})
            for tree, path in ((ROOT / "lambda", "collections:lambda"), (ROOT / "examples/algo-modeling-v2", "."))
            if any(tree.rglob("*.py"))
        ),
        Check(
            "mypy alpaca_websocket",
            [*mypy, f"{cache}-alpaca_websocket", str(SERVICE)],
            venv,
            env={"MYPYPATH": f"{SERVICE / 'src'}:{SERVICE / 'tests'}"},
        ),
    ]


def _packages(tests: Path) -> list[Path]:
    return [part for part in sorted(tests.iterdir()) if part.is_dir() and any(part.rglob("*.py"))]


def unit(venv: Venv, args: Sequence[str]) -> list[Check]:
    return [pytest(venv, "unit tests", "tests/unit", *args)]


def integration(venv: Venv, args: Sequence[str]) -> list[Check]:
    # Each process has an AWS of its own; tests/integration/order.py says which tests are the first.
    workers = ["-n", str(_SIDE_BY_SIDE), "--dist", "loadfile", "--durations=40"]
    where = [] if any(arg.startswith("tests/") for arg in args) else ["tests/integration"]
    return [pytest(venv, "integration tests", *workers, *where, *args, alone=True)]


def examples(venv: Venv, args: Sequence[str]) -> list[Check]:
    example = ROOT / "examples" / "algo-modeling-v2"
    return [pytest(venv, "example tests", *args, cwd=example)] if any(example.glob("tests/test_*.py")) else []


def services(venv: Venv, args: Sequence[str]) -> list[Check]:
    # Its tests run servers, clients and stand-ins in processes of their own, and wait for them more than they work.
    workers = ["-n", str(_SIDE_BY_SIDE), "--dist", "loadfile"]
    return [pytest(venv, "market-data server's tests", *workers, *args, cwd=SERVICE, alone=True)]


def artifact(venv: Venv, args: Sequence[str]) -> list[Check]:
    return [pytest(venv, "packaging tests", "tests/packaging", *args)]


def sanity(venv: Venv, args: Sequence[str]) -> list[Check]:
    return [Check("ansible-test sanity", [venv.python, "tools/artifact.py", "sanity", *args], venv)]


def units(venv: Venv, args: Sequence[str]) -> list[Check]:
    return [Check("ansible-test units", [venv.python, "tools/artifact.py", "units", *args], venv)]


# The second says whether a part depends on the versions of Python and Ansible, and so runs in every environment. The
# tests of `units` are those of `unit`, in the installed collection: there the newest versions suffice.
# Those with the longest checks come first, so that none of them is waited for alone.
PARTS = {
    "sanity": (sanity, False),
    "lint": (lint, False),
    "units": (units, False),
    "types": (types, False),
    "unit": (unit, True),
    "examples": (examples, True),
    "services": (services, True),
    "artifact": (artifact, True),
    "integration": (integration, True),
}


def run(check: Check, label: str, live: bool) -> Result:
    """Runs one check; shows its output as it comes when it is the only one, at its end otherwise, if it failed."""
    began = time.monotonic()
    say(f"---- {label}: started\n     {shlex.join(check.command)}" if live else f"---- {label}: started")
    done = subprocess.Popen(
        list(check.command),
        cwd=check.cwd,
        env=check.venv.environment(**check.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that all it has started can be ended with it
    )
    lines: list[str] = []
    limit = threading.Timer(_HANGS_AFTER, _end, [done, label])
    limit.daemon = True
    limit.start()
    assert done.stdout
    _RUNNING.add(done)
    for line in done.stdout:
        lines.append(line)
        if live:
            say(line.rstrip("\n"))
    _, status, usage = os.wait4(done.pid, 0)
    done.returncode = os.waitstatus_to_exitcode(status)
    ok = done.returncode == 0
    _RUNNING.discard(done)
    limit.cancel()
    seconds = time.monotonic() - began
    output = "".join(lines)
    log = CACHE / "logs" / f"{re.sub('[^a-z0-9.]+', '-', label.lower())}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(output)
    counts = _counts(output) if "pytest" in check.command or "units" in check.command else {}
    if not counts or (not ok and not counts.get("failed")):
        counts["passed" if ok else "failed"] = counts.get("passed" if ok else "failed", 0) + 1
    if not ok and not live:
        say("".join(f"     {line}" for line in lines[-400:]).rstrip("\n"))
    amount = ", ".join(f"{number} {what}" for what, number in counts.items())
    say(f"---- {label}: {'passed' if ok else 'FAILED'} ({amount}) in {seconds:.0f} s" + ("" if ok else f", {log}"))
    return Result(check, ok, seconds, usage.ru_utime + usage.ru_stime, counts)


def _end(process: subprocess.Popen[str], hung: str = "") -> None:
    if hung:
        say(f"---- {hung}: terminated: not finished after {_HANGS_AFTER} s")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def _end_all() -> None:
    for process in list(_RUNNING):
        _end(process)


def _counts(output: str) -> dict[str, int]:
    """Adds up pytest's closing lines; an error outside a test is a failure."""
    total: dict[str, int] = {}
    for line in output.splitlines():
        if _SUMMARY.match(line):
            for number, what in _COUNTS.findall(line):
                name = {"error": "failed", "errors": "failed", "xfailed": "passed", "xpassed": "failed"}.get(what, what)
                total[name] = total.get(name, 0) + int(number)
    return total


def say(text: str) -> None:
    with _SAY:
        print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, action="append", required=True)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    args = parser.parse_args(arguments[:cut])
    passed_on = arguments[cut + 1 :]
    # The oldest set first, and what is said once is said by the newest.
    venvs = sorted((Venv(path.absolute()) for path in args.venv), key=lambda venv: venv.version)

    checks = [
        (f"{check.name} ({venv.name} set)" if per_set and len(venvs) > 1 else check.name, check)
        for part in args.part or PARTS
        for make, per_set in [PARTS[part]]
        for venv in (venvs if per_set else venvs[-1:])
        for check in make(venv, passed_on or (_CORE.get(part, []) if venv != venvs[-1] else []))
    ]
    began = time.monotonic()
    shutil.rmtree(CACHE / "logs", ignore_errors=True)
    live = len(checks) == 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            together = [pool.submit(run, check, label, live) for label, check in checks if not check.alone]
            try:
                results = [future.result() for future in together]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                _end_all()
                raise
        results += [run(check, label, live or args.part == []) for label, check in checks if check.alone]
    finally:
        _end_all()

    counts = {what: sum(result.counts.get(what, 0) for result in results) for what in ("passed", "failed", "skipped")}
    if len(results) > 1:
        say(f"\n{len(results)} checks in {time.monotonic() - began:.0f} s")
        for result, (label, _check) in zip(results, _in_order(checks), strict=True):
            took = f"{result.seconds:5.0f} s {result.cpu_seconds:5.0f} CPU s"
            say(f"  {'ok    ' if result.ok else 'FAILED'} {took}  {label}")
    say(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 0 if all(result.ok for result in results) and counts["passed"] else 1


def _in_order(checks: list[tuple[str, Check]]) -> list[tuple[str, Check]]:
    return sorted(checks, key=lambda item: item[1].alone)


if __name__ == "__main__":
    sys.exit(main())
