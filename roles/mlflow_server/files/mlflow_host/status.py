# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the server is, as a client sees it: through TLS, with the administrator's password, to the database and back."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

from .settings import UNIT, HostError, Secret, Settings

_SECONDS = 15
_API = "/api/2.0/mlflow"
# What is searched for the last run.
_EXPERIMENTS = 500


def status(settings: Settings, secret: Secret) -> dict[str, Any]:
    found: dict[str, Any] = {"component": "mlflow_server", "healthy": False, "url": f"https://{settings.names[0]}"}
    state = subprocess.run(
        ["/usr/bin/systemctl", "show", "--property", "ActiveState", "--value", UNIT],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    found["state"] = state
    try:
        found["version"] = _get(settings, "/version", secret)
        if _code(settings, f"{_API}/experiments/search?max_results=1") != 401:
            raise HostError("the server answers without a password")
        if last := _last_run(settings, secret):
            found["last_work"] = last
    except (HostError, OSError, ValueError) as error:
        found["reason"] = _reason(error, state)
    else:
        found["healthy"] = True
    return found


def _last_run(settings: Settings, secret: Secret) -> str:
    """When the newest run was started, of the experiments that were changed last. It takes the database twice."""
    order = {"max_results": _EXPERIMENTS, "order_by": ["last_update_time DESC"]}
    listed = json.loads(_get(settings, f"{_API}/experiments/search", secret, order))
    ids = [each["experiment_id"] for each in listed.get("experiments", [])]
    if not ids:
        return ""
    newest = {"experiment_ids": ids, "max_results": 1, "order_by": ["attributes.start_time DESC"]}
    runs = json.loads(_get(settings, f"{_API}/runs/search", secret, newest)).get("runs", [])
    started = [int(run["info"]["start_time"]) for run in runs]
    return datetime.fromtimestamp(started[0] / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if started else ""


def _reason(error: Exception, state: str) -> str:
    if state != "active":
        return f"{UNIT} is {state or 'not installed'}: journalctl -u {UNIT}"
    if isinstance(error, urllib.error.HTTPError):
        said = error.read(2000).decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = str(json.loads(said)["message"])
        return f"MLflow answers {error.code}: {' '.join(said.split())[:300]}"
    if isinstance(error, urllib.error.URLError):
        return f"port 443 does not answer ({error.reason}); nginx is in front of MLflow: systemctl status nginx"
    return " ".join(str(error).split())[:300]


def _get(settings: Settings, path: str, secret: Secret | None = None, body: dict[str, Any] | None = None) -> str:
    headers = {"Content-Type": "application/json"}
    if secret:
        pair = f"{secret.admin_username}:{secret.admin_password}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(settings.url + path, data=data, headers=headers)  # noqa: S310 - https
    context = ssl.create_default_context(cafile=settings.ca)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=_SECONDS) as answer:
        return str(answer.read().decode())


def _code(settings: Settings, path: str) -> int:
    try:
        _get(settings, path)
    except urllib.error.HTTPError as error:
        return error.code
    return 200
