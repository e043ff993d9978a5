"""The way in: Ansible and a person reach the hosts by SSH, through the local environment's inventory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.algo.trading.tests.integration.conftest import ROOT
from ansible_collections.algo.trading.tests.integration.hosts.conftest import PATIENCE, until

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host

pytestmark = pytest.mark.hosts


def run(host: Host, *command: str) -> subprocess.CompletedProcess[str]:
    """A command on this machine, in the environment of a local run."""
    return subprocess.run(command, env=host.yard.env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def member(pair: list[Host]) -> Host:
    """A host that is tagged as one of the local environment's trading servers."""
    tags = {"Project": "algo-trading", "Environment": "local", "ManagedBy": "algo.trading"}
    tags |= {"Component": "trading_server", "Name": "trader-1"}
    described = [{"Key": key, "Value": value} for key, value in tags.items()]
    pair[0].yard.aws.client("ec2").create_tags(Resources=[pair[0].id], Tags=described)
    return pair[0]


def test_ansible_reaches_a_host_of_the_inventory_and_is_root_by_sudo(member: Host) -> None:
    ansible = str(Path(sys.executable).parent / "ansible")
    command = [ansible, "-i", "inventories/local", "trading_server", "-m", "ansible.builtin.command", "-a", "id -un"]
    done = run(member, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["trader-1 | CHANGED | rc=0 >>", "root"], done.stderr
    done = run(member, *command, "-e", "ansible_become=false")
    assert done.stdout.splitlines() == ["trader-1 | CHANGED | rc=0 >>", "admin"]


def test_temporary_files_of_a_host_are_never_where_the_controllers_are(member: Host, tmp_path: Path) -> None:
    """tools/env.sh names a folder of the clone. There root's would be in the way of the user's."""
    there = tmp_path / "tmp"
    file = {"path": "/root/noted", "content": "one", "check": "test -s %s"}
    ansible = str(Path(sys.executable).parent / "ansible")
    for module, given in (
        ("algo.trading.host_files", {"files": [file]}),
        ("ansible.builtin.copy", {"content": "two", "dest": "/root/copied"}),
    ):
        command = [ansible, "-i", "inventories/local", "trading_server", "-m", module, "-a", json.dumps(given)]
        env = member.yard.env | {"ANSIBLE_REMOTE_TMP": str(there)}
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
    assert member.run(f"cat /root/noted /root/copied; test ! -e {there}") == "onetwo"


def test_a_person_logs_in_and_the_exit_status_comes_back(pair: list[Host]) -> None:
    host = pair[1]
    config = host.yard.state / "ssh" / "config"
    done = run(host, "ssh", "-F", str(config), host.id, "sudo hostname; exit 3")
    assert (done.returncode, done.stdout) == (3, host.run("hostname")), done.stderr
    known = (config.parent / "known_hosts").read_text()
    assert any(line.startswith(f"{host.id} ssh-ed25519 ") for line in known.splitlines())
    done = run(host, "ssh", "-F", str(config), "i-00000000000000000", "true")
    assert done.returncode != 0
    assert "i-00000000000000000 is no host" in done.stderr


def test_a_command_of_this_machine_runs_in_the_hosts_network(pair: list[Host]) -> None:
    inside = pair[0].yard.control("inside")
    address = pair[0].described()["PrivateIpAddress"]
    greeting = f"import socket; print(socket.create_connection(({address!r}, 22), 60).recv(7))"
    assert run(pair[0], *inside, sys.executable, "-c", greeting).stdout == "b'SSH-2.0'\n"


def test_the_key_is_for_its_owner_only_and_the_only_way_in(pair: list[Host]) -> None:
    key = pair[0].yard.state / "ssh" / "key"
    assert key.stat().st_mode & 0o077 == 0
    accepted = pair[0].run("cat /home/admin/.ssh/authorized_keys")
    assert accepted.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]
    assert pair[0].run("passwd --status admin").split()[1] == "L"  # no password


def test_a_host_that_was_rebooted_is_the_same_host(pair: list[Host]) -> None:
    host = pair[1]
    config = str(host.yard.state / "ssh" / "config")
    assert run(host, "ssh", "-F", config, host.id, "true").returncode == 0
    host.yard.aws.client("ec2").reboot_instances(InstanceIds=[host.id])
    host.booted()
    until(lambda: run(host, "ssh", "-F", config, host.id, "true").returncode == 0)
