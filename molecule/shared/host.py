"""The scenario's AWS and its first host, for what looks at a host from outside."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class Host:
    """
    :param state: state directory of the embedded AWS
    :param folder: the scenario's ephemeral directory
    """

    def __init__(self, state: Path, folder: Path) -> None:
        import boto3

        self.folder, self.endpoint = folder, (state / "endpoint").read_text().strip()
        self._session: Any = boto3.session.Session("testing", "testing", region_name="us-east-1")
        self.id = str(json.loads((folder / "instance_config.yml").read_text())[0]["address"])

    def client(self, name: str) -> Any:
        return self._session.client(name, endpoint_url=self.endpoint)

    def run(self, command: str) -> str:
        """Run a shell command as root in the host, past the API; returns what it printed."""
        body = json.dumps({"instance": self.id, "command": ["sh", "-c", command]}).encode()
        request = urllib.request.Request(f"{self.endpoint}/_algo/hosts", data=body, method="POST")
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=330) as answer:
                return str(json.load(answer)["output"])
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
