"""The local environment's MLflow, through a port of this machine: the way a person opens its page.

    local_mlflow.py open [--port 8443]    forward a port of this machine to it, until Ctrl-C
    local_mlflow.py password              the administrator's password, from the environment's secret
    local_mlflow.py track DIRECTORY       log the models of a directory (algo_modeling track), unless they are there

`make mlflow` does the first. On AWS, SSM forwards a port in the same way (docs/operating.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "collections"))
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from embedded_aws import __main__ as embedded_aws
from embedded_aws.hosts.forward import Forward
from embedded_aws.hosts.way_in import WayIn
from embedded_aws.manager import State

OURS = Scope("algo-trading", "local")
CA = "/etc/mlflow-server/tls/ca.pem"


class Page:
    """The MLflow of one clone.

    :param aws: the state directory of its embedded AWS
    """

    def __init__(self, aws: Path) -> None:
        self._state, self._ssh = State(aws), ["ssh", "-F", str(WayIn(aws).config)]
        if not WayIn(aws).config.exists():
            raise SystemExit("There is no MLflow: this embedded AWS has no hosts. make down, then HOSTS=on make demo")
        import boto3

        self._session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
        self._endpoint = (aws / "endpoint").read_text().strip()

    def host(self) -> str:
        """Id of the running MLflow host."""
        tags = OURS.tags("mlflow_server")
        filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
        filters.append({"Name": "instance-state-name", "Values": ["running"]})
        found = self._client("ec2").describe_instances(Filters=filters)["Reservations"]
        if not found:
            raise SystemExit("There is no MLflow host. Make the environment: make demo")
        return str(found[0]["Instances"][0]["InstanceId"])

    def login(self) -> tuple[str, str]:
        """Name and password of the administrator."""
        text = self._client("secretsmanager").get_secret_value(SecretId=OURS.name("mlflow_server"))["SecretString"]
        secret = json.loads(text)
        return str(secret["admin_username"]), str(secret["admin_password"])

    def authority(self) -> str:
        """The certificate that clients trust."""
        command = [*self._ssh, self.host(), "sudo", "cat", CA]
        return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout

    @contextmanager
    def forward(self, port: int = 0) -> Iterator[int]:
        """Forward a port of this machine to the server, whose certificate is for `localhost` as well."""
        host = self.host()
        there = {each["instance"]: each for each in embedded_aws._ask(self._state, "GET", "hosts")}[host]
        try:
            forward = Forward(Path(there["network"]), (there["address"], 443), port)
        except OSError as error:
            raise SystemExit(f"Port {port} cannot be used: {error.strerror}. Another one: --port") from error
        threading.Thread(target=forward.serve, daemon=True).start()
        try:
            yield forward.port
        finally:
            forward.close()

    def open(self, port: int) -> int:
        with self.forward(port) as port:
            print(
                f"MLflow: https://localhost:{port}\n"
                f"  user      {self.login()[0]}\n"
                f"  password  {sys.executable} tools/local_mlflow.py password\n"
                "The certificate is of the host's own authority, so the browser warns. Ctrl-C ends the forward.",
                flush=True,
            )
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return 0

    def track(self, models: Path) -> int:
        user, password = self.login()
        with self.forward() as port, tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
            ca.write(self.authority())
            ca.flush()
            env = {
                **os.environ,
                "MLFLOW_TRACKING_URI": f"https://localhost:{port}",
                "MLFLOW_TRACKING_USERNAME": user,
                "MLFLOW_TRACKING_PASSWORD": password,
                "MLFLOW_TRACKING_SERVER_CERT_PATH": ca.name,
            }
            command = [sys.executable, "-m", "algo_modeling", "track", "--output", str(models.absolute())]
            return subprocess.call(command, env=env, cwd=ROOT / "examples" / "algo-modeling-v2")

    def _client(self, name: str) -> Any:
        return self._session.client(name, endpoint_url=self._endpoint)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("open", "password", "track"))
    parser.add_argument("models", nargs="?", type=Path, default=ROOT / ".local" / "models")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--state", type=Path, default=ROOT / ".local" / "aws", help="of the embedded AWS")
    args = parser.parse_args()
    page = Page(args.state.absolute())
    if args.command == "password":
        print(page.login()[1])
        return 0
    return page.track(args.models) if args.command == "track" else page.open(args.port)


if __name__ == "__main__":
    sys.exit(main())
