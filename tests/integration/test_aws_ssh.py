"""The ProxyCommand for AWS, with a recorder in place of AWS (moto has no sessions) and of Session Manager's plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.tests.integration.conftest import ROOT

INSTANCE = "i-0123456789abcdef0"
PLUGIN = """#!/bin/sh
printf '%s\\n' "$AWS_SSM_START_SESSION_RESPONSE" "$@" > "$(dirname "$0")/started"
"""


class Recorder(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.calls: dict[str, dict[str, Any]] = {}
        self.refused = False


class _Answer(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        self.server.calls[operation] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = 200, {"SessionId": "session-1", "StreamUrl": "wss://stream", "TokenValue": "a-token"}
        if self.server.refused:
            status, answer = 400, {"__type": "TargetNotConnected", "message": "the host is not connected"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def connect(recorder: Recorder, folder: Path, plugin: bool = True) -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    if plugin:
        (programs / "session-manager-plugin").write_text(PLUGIN)
        (programs / "session-manager-plugin").chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "PATH": f"{programs}:/usr/bin:/bin",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{recorder.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, str(ROOT / "tools" / "aws_ssh.py"), "--region", "us-east-1", INSTANCE, "22"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_the_host_gets_the_key_and_the_plugin_the_session(recorder: Recorder, tmp_path: Path) -> None:
    done = connect(recorder, tmp_path)
    assert done.returncode == 0, done.stderr
    key = tmp_path / ".local" / "ssh" / "key"
    assert key.stat().st_mode & 0o077 == 0
    public = key.with_suffix(".pub").read_text().strip()
    assert recorder.calls == {
        "SendSSHPublicKey": {"InstanceId": INSTANCE, "InstanceOSUser": "admin", "SSHPublicKey": public},
        "StartSession": {
            "Target": INSTANCE,
            "DocumentName": "AWS-StartSSHSession",
            "Parameters": {"portNumber": ["22"]},
        },
    }
    response, *arguments = (tmp_path / "bin" / "started").read_text().splitlines()
    assert json.loads(response)["TokenValue"] == "a-token"
    assert arguments[:3] == ["AWS_SSM_START_SESSION_RESPONSE", "us-east-1", "StartSession"]
    assert json.loads(arguments[4]) == recorder.calls["StartSession"]
    assert "a-token" not in " ".join(arguments)  # an argument can be read by every user of the machine


def test_the_key_is_kept_for_a_day(recorder: Recorder, tmp_path: Path) -> None:
    connect(recorder, tmp_path)
    key = tmp_path / ".local" / "ssh" / "key"
    first = key.read_text()
    connect(recorder, tmp_path)
    assert key.read_text() == first
    os.utime(key, (0, 0))
    connect(recorder, tmp_path)
    assert key.read_text() != first
    derived = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=True).stdout
    assert derived.split()[:2] == key.with_suffix(".pub").read_text().split()[:2]


def test_what_fails_is_said(recorder: Recorder, tmp_path: Path) -> None:
    assert "session-manager-plugin is not installed" in connect(recorder, tmp_path, plugin=False).stderr
    recorder.refused = True
    done = connect(recorder, tmp_path)
    assert done.returncode == 1
    assert f"{INSTANCE}: An error occurred (TargetNotConnected)" in done.stderr


def test_ssh_reads_the_settings_for_aws(tmp_path: Path) -> None:
    command = ["ssh", "-G", "-F", str(ROOT / "inventories" / "shared" / "ssh.cfg"), INSTANCE]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.splitlines()
    assert {"user admin", "proxycommand python3 tools/aws_ssh.py --user %r %h %p"} <= set(shown)
