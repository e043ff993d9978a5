"""An MLflow server by its effects, in this order: each test leaves a healthy server to the next."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from host import Host

PATIENCE = 300
CA = "/etc/mlflow-server/tls/ca.pem"
ADMIN, DATABASE = "not-a-secret-of-the-admin", "not-a-secret-of-the-database"
CODE = "curl -s -o /dev/null -w '%{http_code}' -m 20"


def until(condition: Callable[[], Any], told: Callable[[], str]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE} s: {told()}"
        time.sleep(0.5)
    return found


class Server(Host):
    @functools.cached_property
    def name(self) -> str:
        """What clients call it."""
        return str(json.loads(self.run("cat /etc/mlflow-server/settings.json"))["names"][0])

    @property
    def api(self) -> str:
        return f"https://{self.name}/api/2.0/mlflow/experiments/search"

    @property
    def search(self) -> str:
        return f"'{self.api}?max_results=1'"

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("algo-mlflow status --json || true")))

    def healthy(self) -> dict[str, Any]:
        return dict(until(lambda: (now := self.status())["healthy"] and now, self.why))

    def why(self) -> str:
        return self.run("algo-mlflow status --json; journalctl --no-pager -n 30 -u 'mlflow-server*'; true")

    def main_pid(self) -> str:
        return self.run("systemctl show -P MainPID mlflow-server").strip()

    def code(self, arguments: str) -> str:
        return self.run(f"{CODE} {arguments} || true").strip()


@pytest.fixture(scope="module")
def host() -> Server:
    return Server(Path(os.environ["SCENARIO_AWS_STATE"]), Path(os.environ["SCENARIO_FOLDER"]))


def test_a_client_logs_a_run_through_tls_and_its_artifact_lies_in_the_bucket(host: Server) -> None:
    program = (Path(__file__).parent / "client.py").read_text()
    host.run(f"cat > /run/client.py <<'END'\n{program}\nEND")
    login = f"MLFLOW_TRACKING_URI=https://{host.name} MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD={ADMIN}"
    said = json.loads(
        host.run(f"{login} /opt/mlflow-server/current/bin/python -B /run/client.py 2>/dev/null | tail -1")
    )
    assert said["metrics"] == {"sharpe": 1.5}
    assert said["params"] == {"outer": "0", "inner": "1"}
    assert said["text"] == "weights"
    stored = host.client("s3").get_object(Bucket="molecule-artifacts", Key=said["place"])["Body"].read()
    assert stored == b"weights"
    found = host.healthy()
    assert found["version"] == host.run("readlink /opt/mlflow-server/current").partition("/")[2].partition("-")[0]
    assert found["last_work"] == said["started"]


def test_only_the_secrets_password_is_accepted(host: Server) -> None:
    assert host.code(f"--cacert {CA} -u admin:{ADMIN} {host.search}") == "200"
    assert host.code(f"--cacert {CA} -u admin:password1234 {host.search}") == "401"
    assert host.code(f"--cacert {CA} {host.search}") == "401"


def test_it_is_reached_by_its_names_and_through_tls_only(host: Server) -> None:
    address = host.run("hostname -I").split()[0]
    resolved = f"--cacert {CA} -u admin:{ADMIN} --resolve {host.name}:443:{address}"
    assert host.code(f"{resolved} {host.search}") == "200"
    assert host.code(f"{resolved} -H 'Host: evil.example' {host.search}") == "403"
    assert host.code(f"-k -u admin:{ADMIN} https://{address}/api/2.0/mlflow/experiments/search") == "403"
    assert host.code(f"http://{address}/") == "000"
    assert host.code(f"http://{address}:443/") == "400"
    assert host.code(f"http://{address}:5000/health") == "000"
    assert host.code(f"--tls-max 1.1 --cacert {CA} {host.search}") == "000"
    posted = f"{resolved} -X POST -H 'Content-Type: application/json' -d '{{\"max_results\": 1}}' {host.api}"
    assert host.code(f"-H 'Origin: https://{host.name}' {posted}") == "200"
    assert host.code(f"-H 'Origin: https://evil.example' {posted}") == "403"


def test_the_sandbox_forbids_what_mlflow_does_not_need(host: Server) -> None:
    inside = f"nsenter --all --target {host.main_pid()}"
    for path in ("/etc/x", "/opt/mlflow-server/x", "/var/lib/x", "/usr/x"):
        assert "Read-only file system" in host.run(f"{inside} touch {path} 2>&1 || true"), path
    users = host.run(
        "ps -o user= --ppid $(systemctl show -P MainPID mlflow-server) -p $(systemctl show -P MainPID mlflow-server)"
    )
    assert set(users.split()) == {"mlflow"}
    assert "Permission denied" in host.run("runuser -u mlflow -- cat /etc/mlflow-server/secret.json 2>&1 || true")
    assert "Permission denied" in host.run("runuser -u mlflow -- cat /etc/mlflow-server/tls/server.key 2>&1 || true")
    for where in (
        "ps -wweo args | grep -v grep",
        "journalctl -u 'mlflow-server*' -u nginx",
        "cat /etc/mlflow-server/settings.json /run/mlflow-server/*",
    ):
        assert "not-a-secret" not in host.run(f"{where} | grep not-a-secret | grep -v client.py || true"), where


def test_one_that_is_killed_and_one_that_hangs_are_started_again(host: Server) -> None:
    first = host.main_pid()
    host.run(f"kill -9 {first}")
    until(lambda: host.main_pid() not in ("0", first), host.why)
    host.healthy()
    second = host.main_pid()
    host.run("pkill -STOP -u mlflow -f uvicorn")
    until(lambda: host.main_pid() not in ("0", second), host.why)
    host.healthy()
    assert "Watchdog timeout" in host.run("journalctl --no-pager -u mlflow-server")


def test_a_database_that_is_away_is_reported_and_waited_for(host: Server) -> None:
    running = host.main_pid()
    host.run("systemctl stop 'postgresql@*'")
    found = until(lambda: not (now := host.status())["healthy"] and now, host.why)
    assert "MLflow answers" in found["reason"] or "timed out" in found["reason"]
    host.run("systemctl start postgresql")
    host.healthy()
    assert host.main_pid() == running  # MLflow found it again by itself
    host.run(f"systemctl stop 'postgresql@*'; kill -9 {running}")
    until(lambda: "no connection to the database" in host.run("journalctl --no-pager -n 20 -u mlflow-server"), host.why)
    assert "is activating" in host.status()["reason"]
    host.run("systemctl start postgresql")
    host.healthy()


def test_a_changed_password_holds_after_a_restart_and_the_secret_key_stays(host: Server) -> None:
    secrets = host.client("secretsmanager")
    before = json.loads(secrets.get_secret_value(SecretId="molecule-mlflow")["SecretString"])
    changed = {**before, "admin_password": "not-a-secret-either-of-the-admin"}
    assert _secret_keys(host) == {before["flask_secret_key"]}
    try:
        secrets.put_secret_value(SecretId="molecule-mlflow", SecretString=json.dumps(changed))
        host.run("systemctl restart mlflow-server")
        host.healthy()
        assert host.code(f"--cacert {CA} -u admin:{changed['admin_password']} {host.search}") == "200"
        assert host.code(f"--cacert {CA} -u admin:{ADMIN} {host.search}") == "401"
        assert _secret_keys(host) == {before["flask_secret_key"]}
    finally:
        secrets.put_secret_value(SecretId="molecule-mlflow", SecretString=json.dumps(before))


def _secret_keys(host: Server) -> set[str]:
    """What the workers sign with."""
    name = "MLFLOW_FLASK_SERVER_SECRET_KEY="
    found = host.run(
        f"for pid in $(pgrep -u mlflow -f uvicorn); do tr '\\0' '\\n' < /proc/$pid/environ | grep {name}; done"
    )
    return {line.removeprefix(name) for line in found.split()}
