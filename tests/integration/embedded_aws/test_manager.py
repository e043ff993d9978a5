"""The embedded AWS of a clone: start, stop, crashes, foreign processes, two clones, all with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools"))
from embedded_aws.hosts import requirements


class Clone:
    """The tools of a clone, and one state directory."""

    def __init__(self, root: Path) -> None:
        self.state = root / ".local" / "aws"
        self.tool = root / "tools" / "embedded_aws"
        shutil.copytree(ROOT / "tools" / "embedded_aws", self.tool, ignore=shutil.ignore_patterns("__pycache__"))

    def __call__(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.tool), *args],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **env},
        )

    @property
    def pid(self) -> int:
        return int(json.loads((self.state / "server.json").read_text())["pid"])

    @property
    def endpoint(self) -> str:
        return (self.state / "endpoint").read_text().strip()


@pytest.fixture
def make_clone(tmp_path: Path) -> Iterator[Callable[[str], Clone]]:
    clones: list[Clone] = []

    def make(name: str) -> Clone:
        clones.append(Clone(tmp_path / name))
        return clones[-1]

    yield make
    for clone in clones:
        clone("stop")


@pytest.fixture
def clone(make_clone: Callable[[str], Clone]) -> Clone:
    return make_clone("clone")


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.05)


def test_start_stop_and_start_again_on_the_same_port(clone: Clone) -> None:
    assert clone("status").returncode == 3
    first = clone("start")
    assert first.returncode == 0, first.stderr
    endpoint, pid = clone.endpoint, clone.pid
    assert endpoint.startswith("http://127.0.0.1:")
    assert "already running" in clone("start").stdout
    assert clone.pid == pid
    assert f"AWS_ENDPOINT_URL={endpoint}" in clone("env").stdout
    assert clone("status").returncode == 0

    assert "stopped" in clone("stop").stdout
    assert not alive(pid)
    assert not (clone.state / "endpoint").exists()
    assert "was not running" in clone("stop").stdout
    assert clone("env").returncode == 1

    assert "started" in clone("start").stdout
    assert clone.endpoint == endpoint


def test_a_killed_server_is_started_anew(clone: Clone) -> None:
    clone("start")
    os.kill(clone.pid, signal.SIGKILL)
    until(lambda: clone("status").returncode == 3)
    again = clone("start")
    assert "started" in again.stdout
    assert "empty account" in again.stdout


def test_a_server_that_hangs_is_replaced(clone: Clone) -> None:
    clone("start")
    hung = clone.pid
    os.kill(hung, signal.SIGSTOP)
    again = clone("start")
    assert again.returncode == 0, again.stderr
    assert "no longer responds" in again.stderr
    assert not alive(hung)


def test_a_foreign_process_with_the_recorded_pid_is_left_alone(clone: Clone) -> None:
    clone("start")
    record = json.loads((clone.state / "server.json").read_text())
    clone("stop")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        (clone.state / "server.json").write_text(json.dumps(record | {"pid": bystander.pid}))
        assert "was not running" in clone("stop").stdout
        (clone.state / "server.json").write_text(json.dumps(record | {"pid": bystander.pid}))
        assert "started" in clone("start").stdout
        assert bystander.poll() is None
        bystander.communicate(b"\n")


def test_a_taken_port_is_avoided(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        clone.state.mkdir(parents=True)
        taken = foreign.getsockname()[1]
        (clone.state / "port").write_text(str(taken))
        began = clone("start")
        assert began.returncode == 0, began.stderr
        assert f"port {taken} is in use" in began.stderr
        assert not clone.endpoint.endswith(f":{taken}")


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"pid": 1}'])
def test_damaged_files_do_no_harm(clone: Clone, rubbish: str) -> None:
    clone.state.mkdir(parents=True)
    for name in ("server.json", "port", "endpoint", "lock"):
        (clone.state / name).write_text(rubbish)
    began = clone("start")
    assert began.returncode == 0, began.stderr
    assert clone("status").returncode == 0


def test_several_starts_at_once_make_one_server(clone: Clone) -> None:
    command = [sys.executable, str(clone.tool), "start"]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [start.communicate()[0] for start in starts]
    assert [start.returncode for start in starts] == [0] * 4
    assert len({line.split(" at ")[1].split()[0] for line in said}) == 1
    assert sum("empty account" in line for line in said) <= 1


def test_a_start_killed_half_way_leaves_a_server_that_is_found(clone: Clone) -> None:
    with subprocess.Popen([sys.executable, str(clone.tool), "start"]) as half:
        until((clone.state / "server.log").exists)
        half.kill()
    assert clone("start").returncode == 0
    pid = clone.pid
    assert clone("stop").returncode == 0
    assert not alive(pid)
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if _mentions(p, str(clone.state))]


def _mentions(cmdline: Path, text: str) -> bool:
    try:
        return text.encode() in cmdline.read_bytes()
    except OSError:
        return False


def test_two_clones_do_not_disturb_each_other(make_clone: Callable[[str], Clone]) -> None:
    one, two = make_clone("one"), make_clone("two")
    one("start")
    # A clone that was copied with its state must not take the other's server for its own.
    shutil.copytree(one.state, two.state)
    two("start")
    assert one.endpoint != two.endpoint
    assert one.pid != two.pid
    two("stop")
    assert alive(one.pid)
    with urllib.request.urlopen(f"{one.endpoint}/_algo/ping") as answer:
        assert json.load(answer)["pid"] == one.pid


def test_deleting_the_clone_ends_its_server(clone: Clone) -> None:
    clone("start")
    pid = clone.pid
    shutil.rmtree(clone.state)
    until(lambda: not alive(pid))


def test_where_hosts_cannot_run_it_is_said_and_everything_else_works(clone: Clone, tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path)}
    refused = clone("start", "--hosts", "on", **nothing)
    assert refused.returncode == 1
    assert "hosts cannot run here: " in refused.stderr
    assert clone("status").returncode == 3
    without = clone("start", "--hosts", "auto", **nothing)
    assert without.returncode == 0
    assert "without hosts: " in without.stderr
    assert "already runs" not in without.stderr
    asked = clone("hosts")
    assert asked.returncode == 1
    assert "--hosts on" in asked.stderr


ALL = ("apt-get", *requirements._PROGRAMS)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"platform": "darwin"}, "Linux virtual machine"),
        ({"user": 1000}, "as root"),
        ({"programs": ()}, "use a Debian or Ubuntu machine"),
        ({"programs": ("apt-get", "runc", "nsenter", "ip")}, "apt-get install -y --no-install-recommends iptables"),
        ({"programs": ALL, "writable": ("/sys/fs/cgroup",)}, "load the tun module"),
        ({"programs": ALL, "writable": ("/dev/net/tun",)}, "mount /sys/fs/cgroup read-write"),
        ({"programs": ALL, "writable": ("/dev/net/tun", "/sys/fs/cgroup"), "unshare": 1}, "allow CAP_SYS_ADMIN"),
        ({"programs": ALL, "writable": ("/dev/net/tun", "/sys/fs/cgroup")}, ""),
    ],
)
def test_what_a_machine_lacks_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any], said: str
) -> None:
    _machine(monkeypatch, machine)
    told = requirements.missing()
    assert said in told
    assert bool(said) == bool(told)


@pytest.mark.parametrize(
    ("there", "systemd", "said"),
    [
        (["cgroup.controllers"], 258, ""),
        (["systemd", "memory"], 252, ""),
        (["systemd", "memory"], 0, ""),
        (["systemd", "memory"], 257, "systemd 257, which refuses control groups of version 1"),
        (["memory"], 252, "of version 2, or of version 1 with"),
    ],
)
def test_control_groups_that_systemd_cannot_use_are_named(
    tmp_path: Path, there: list[str], systemd: int, said: str
) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    told = requirements.control_groups(tmp_path, lambda: systemd)
    assert said in told
    assert bool(said) == bool(told) == ("systemd.unified_cgroup_hierarchy=1" in told)


@pytest.mark.parametrize(
    ("limit", "said"), [("128", "about 18 hosts"), ("1024", ""), ("8192", ""), (None, ""), ("?", "")]
)
def test_a_limit_that_few_hosts_reach_is_told_with_its_remedy(tmp_path: Path, limit: str | None, said: str) -> None:
    file = tmp_path / "max_user_instances"
    if limit is not None:
        file.write_text(f"{limit}\n")
    told = requirements.narrow(file)
    assert said in told
    assert bool(said) == bool(told) == ("sysctl -w fs.inotify.max_user_instances=1024" in told)


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="apt knows the version, and this machine has none")
def test_the_systemd_that_hosts_get_is_known() -> None:
    assert 200 < requirements.systemd_version() < 1000


@pytest.mark.parametrize(
    ("machine", "installs"),
    [
        ({}, True),
        ({"distribution": "ubuntu"}, True),
        ({"distribution": "fedora"}, False),
        ({"platform": "darwin"}, False),
        ({"user": 1000}, False),
        ({"programs": ALL}, False),
    ],
)
def test_packages_are_installed_only_as_root_of_debian_or_ubuntu_and_after_saying_so(
    monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any], installs: bool
) -> None:
    ran = _machine(monkeypatch, machine)
    said: list[str] = []
    requirements.install(lambda text: said.append(f"{len(ran)} {text}"))
    assert [command[:2] for command in ran] == [["apt-get", "install"]] * installs
    assert [text.partition("Installing: ")[2] for text in said] == [" ".join(command) for command in ran]
    assert all(text.startswith("0 ") for text in said), "said first"


def _machine(monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any]) -> list[list[str]]:
    """A machine with these facts; returns the commands that are run on it."""
    ran: list[list[str]] = []

    def run(command: list[str], **_how: Any) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, facts.get("unshare", 0), "", "Operation not permitted")

    monkeypatch.setattr(requirements.sys, "platform", facts.get("platform", "linux"))
    monkeypatch.setattr(requirements.os, "geteuid", lambda: facts.get("user", 0))
    monkeypatch.setattr(requirements.os, "access", lambda path, _how: str(path) in facts.get("writable", ()))
    monkeypatch.setattr(requirements, "distribution", lambda: facts.get("distribution", "debian"))
    monkeypatch.setattr(requirements.subprocess, "run", run)
    there = facts.get("programs", ("apt-get",))
    monkeypatch.setattr(requirements.shutil, "which", lambda name: name if name in there else None)
    return ran
