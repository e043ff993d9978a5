"""The program of an MLflow host, as far as it needs no MLflow: molecule/mlflow_server has the rest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow_host import secret as fetching
from mlflow_host.cli import main
from mlflow_host.serve import command
from mlflow_host.settings import REFUSED, HostError, Secret, Settings, database_uri, server_environment

FILES = Path(__file__).parents[4] / "roles" / "mlflow_server" / "files"
SECRET = {
    "username": "ml/flow",
    "password": "p@ss-of-the-database",
    "dbname": "mlflow",
    "port": "5432",
    "admin_username": "admin",
    "admin_password": "pass-of-the-admin",
    "flask_secret_key": "key-of-flask",
}
SETTINGS = Settings(
    region="us-east-1",
    secret="mlflow",
    artifacts="s3://artifacts",
    database_host="db.internal",
    database_ca="/ca.pem",
    names=("mlflow.internal", "localhost"),
    ca="/tls/ca.pem",
    port=5000,
    workers=2,
)


def test_no_password_is_in_an_argument_an_address_or_a_file(tmp_path: Path) -> None:
    secret = Secret.parse(json.dumps(SECRET), "mlflow")
    assert database_uri(SETTINGS, secret) == (
        "postgresql+psycopg://ml%2Fflow@db.internal:5432/mlflow?sslmode=verify-full&sslrootcert=/ca.pem&connect_timeout=10"
    )
    environment = server_environment(SETTINGS, secret, str(tmp_path), {"HOME": "/x"})
    assert environment["PGPASSWORD"] == SECRET["password"]
    assert environment["HOME"] == "/x"
    arguments = command(SETTINGS, secret)
    told = " ".join([*arguments, *(path.read_text() for path in tmp_path.iterdir())])
    assert not [value for name, value in SECRET.items() if ("pass" in name or "key" in name) and value in told]
    assert arguments[arguments.index("--allowed-hosts") + 1] == "mlflow.internal,localhost"
    assert arguments[arguments.index("--cors-allowed-origins") + 1] == "https://mlflow.internal,https://localhost"


@pytest.mark.parametrize(
    "text", ["no json", "[]", json.dumps({**SECRET, "password": ""}), json.dumps({**SECRET, "admin_password": "short"})]
)
def test_a_secret_that_is_incomplete_is_refused_without_its_content(text: str) -> None:
    with pytest.raises(HostError, match="the secret mlflow needs username, password, dbname") as refused:
        Secret.parse(text, "mlflow")
    assert refused.value.status == REFUSED
    assert "pass-of" not in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_secret_is_replaced_at_once_for_root_only_and_not_touched_where_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "secret.json"
    assert fetching._replace(path, "one")
    made = path.stat()
    assert made.st_mode & 0o777 == 0o600
    assert not fetching._replace(path, "one")
    assert path.stat().st_ino == made.st_ino
    assert fetching._replace(path, "two")
    assert [each.name for each in tmp_path.iterdir()] == ["secret.json"]


def test_settings_that_are_missing_or_of_another_version_are_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "settings.json"
    for text in (None, "{}", '{"names": [], "more": 1}'):
        if text is not None:
            path.write_text(text)
        assert main(["status", "--json", "--settings", str(path)]) == REFUSED
        assert "Run the role mlflow_server again" in json.loads(capsys.readouterr().out)["reason"]


# What the unit runs, with a stand-in for MLflow: an HTTP server that answers as long as a file is there.
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from mlflow_host import serve
from mlflow_host.settings import Settings
serve._LOOK_SECONDS = 0.1
port, program, prepared = int(sys.argv[3]), sys.argv[2], sys.argv[4]
serve.command = lambda settings, secret: [sys.executable, "-c", program, str(port)]
serve._itself = lambda: ["-c", f"import sys; sys.exit({prepared})"]
sys.exit(serve.serve(Settings(**SETTINGS, port=port)))
"""
ANSWERS = """
import http.server, pathlib, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if pathlib.Path("answers").exists() else 500)
        self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


class Unit:
    """`algo-mlflow serve` under something that listens as systemd does."""

    def __init__(self, folder: Path, program: str, prepared: int) -> None:
        self.folder = folder
        (folder / "secret").write_text(json.dumps(SECRET))
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(folder / "notify"))
        self.told.settimeout(30)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        fields = {name: getattr(SETTINGS, name) for name in Settings.__dataclass_fields__ if name != "port"}
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                RUN.replace("SETTINGS", repr(fields)),
                str(FILES),
                program,
                str(port),
                str(prepared),
            ],
            cwd=folder,
            env=os.environ
            | {
                "NOTIFY_SOCKET": str(folder / "notify"),
                "CREDENTIALS_DIRECTORY": str(folder),
                "RUNTIME_DIRECTORY": str(folder),
            },
        )

    def until(self, message: str) -> list[str]:
        """What it tells systemd until it tells this."""
        found: list[str] = []
        while message not in found:
            found += self.told.recv(4096).decode().splitlines()
        return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Unit]]:
    started: list[Unit] = []

    def begin(program: str = ANSWERS, prepared: int = 0) -> Unit:
        started.append(Unit(tmp_path, program, prepared))
        return started[-1]

    yield begin
    for unit in started:
        unit.process.kill()
        unit.process.wait()
        unit.told.close()


def test_it_is_ready_when_mlflow_answers_and_the_watchdog_hears_of_it_only_while_it_does(
    start: Callable[..., Unit], tmp_path: Path
) -> None:
    unit = start()
    assert "READY=1" not in unit.until("STATUS=Starting MLflow")
    (tmp_path / "answers").touch()
    unit.until("READY=1")
    unit.until("WATCHDOG=1")
    (tmp_path / "answers").unlink()
    unit.told.settimeout(1)
    with pytest.raises(TimeoutError):
        unit.until("never")
    unit.process.send_signal(signal.SIGTERM)
    assert unit.until("STOPPING=1")
    assert unit.process.wait(30) == 0


def test_an_mlflow_that_ends_by_itself_is_a_failure_whatever_it_says(start: Callable[..., Unit]) -> None:
    assert start(program="").process.wait(30) == 1


def test_a_database_that_is_refused_keeps_mlflow_from_being_started(start: Callable[..., Unit]) -> None:
    unit = start(prepared=REFUSED)
    assert unit.process.wait(30) == REFUSED
    unit.told.settimeout(0.1)
    with pytest.raises(TimeoutError):
        unit.until("STATUS=Starting MLflow")


def certificate(folder: Path, *names: str) -> str:
    script = FILES / "certificate.sh"
    return subprocess.run(["/bin/sh", script, folder, *names], check=True, capture_output=True, text=True).stdout


def shown(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["openssl", "x509", "-in", folder / "server.pem", "-noout", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_certificate_is_made_once_and_again_for_other_names_by_the_same_authority(tmp_path: Path) -> None:
    assert certificate(tmp_path, "mlflow.internal", "localhost") == "made\n"
    assert "DNS:mlflow.internal, DNS:localhost" in shown(tmp_path, "-ext", "subjectAltName")
    assert {path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077 == 0} == {
        "ca.key",
        "ca.srl",
        "server.key",
    }
    authority, first = (tmp_path / "ca.pem").read_text(), shown(tmp_path, "-serial")
    assert certificate(tmp_path, "mlflow.internal", "localhost") == ""
    assert shown(tmp_path, "-serial") == first
    assert certificate(tmp_path, "other.internal", "localhost") == "made\n"
    assert (tmp_path / "ca.pem").read_text() == authority
    checked = subprocess.run(
        ["openssl", "verify", "-CAfile", "ca.pem", "-verify_hostname", "other.internal", "server.pem"], cwd=tmp_path,
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.stdout.endswith(": OK\n")
    (tmp_path / "server.pem").write_text("")  # as a crash may leave it
    assert certificate(tmp_path, "other.internal", "localhost") == "made\n"
