# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artifacts in MLflow: a run for each, with its parameters, metrics and files. Logging the same again logs nothing.

It speaks MLflow's REST API, so that training needs no MLflow. Where the server is comes from the variables of MLflow's
own client: MLFLOW_TRACKING_URI, _USERNAME, _PASSWORD and _SERVER_CERT_PATH.
"""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import artifact

EXPERIMENT = "algo-modeling"
SPANS = ("train", "validation", "test", "buy_and_hold")
DIGEST, MODEL = "manifest_sha256", "model"
_SECONDS = 60
# Its page then shows runs, and not what belongs to language models.
_KIND = {"key": "mlflow.experimentKind", "value": "custom_model_development"}


class TrackingError(Exception):
    """The server can't be used; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """What is logged of one artifact."""

    name: str
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    files: dict[str, bytes]


def run_of(name: str, files: dict[str, bytes]) -> Run:
    """The run of an artifact's verified files."""
    model, metrics = json.loads(files["model.json"]), json.loads(files["metrics.json"])
    identity = {key: str(model[key]) for key in ("type", "symbol", "model", "outer", "inner")}
    tags = {MODEL: name, DIGEST: artifact.sha256(files[artifact.MANIFEST]), "code_version": model["code"]["version"]}
    numbers = {
        f"{span}/{key}": float(value)
        for span in SPANS
        for key, value in metrics[span].items()
        if isinstance(value, (int, float))
    }
    parameters = {**identity, **{key: str(value) for key, value in model["parameters"].items()}}
    return Run(name, tags, parameters, numbers, files)


class Server:
    """A tracking server.

    :param environment: with the variables of MLflow's client
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.url = environment.get("MLFLOW_TRACKING_URI", "").rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise TrackingError("MLFLOW_TRACKING_URI must name a server: https://…")
        user, password = (environment.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {pair}"} if user else {}
        authority = environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None
        try:
            context = ssl.create_default_context(cafile=authority)
        except OSError as exc:
            raise TrackingError(f"MLFLOW_TRACKING_SERVER_CERT_PATH, {authority}, can't be read: {exc}") from exc
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def experiment(self, name: str) -> str:
        """Id of the experiment, which is created if there is none."""
        found = self._call("experiments/search", {"max_results": 1, "filter": f"name = '{name}'"})
        if experiments := found.get("experiments"):
            return str(experiments[0]["experiment_id"])
        return str(self._call("experiments/create", {"name": name, "tags": [_KIND]})["experiment_id"])

    def known(self, experiment: str) -> tuple[set[str], list[str]]:
        """Digests of the artifacts that are logged, and ids of runs that were interrupted."""
        digests, unfinished, token = set(), [], ""
        while True:
            asked = {"experiment_ids": [experiment], "max_results": 1000, "page_token": token}
            page = self._call("runs/search", asked)
            for run in page.get("runs", []):
                tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
                if run["info"]["status"] == "FINISHED":
                    digests.add(tags.get(DIGEST, ""))
                elif DIGEST in tags:
                    unfinished.append(str(run["info"]["run_id"]))
            if not (token := page.get("next_page_token", "")):
                return digests, unfinished

    def log(self, experiment: str, run: Run) -> str:
        """Returns the run's id; it is FINISHED only when everything is there."""
        now = int(time.time() * 1000)
        tags = [{"key": key, "value": value} for key, value in run.tags.items()]
        asked = {"experiment_id": experiment, "run_name": run.name, "start_time": now, "tags": tags}
        made = self._call("runs/create", asked)["run"]["info"]
        id_ = str(made["run_id"])
        metrics = [
            {"key": key, "value": value, "timestamp": now, "step": 0} for key, value in sorted(run.metrics.items())
        ]
        parameters = [{"key": key, "value": value} for key, value in sorted(run.parameters.items())]
        self._call("runs/log-batch", {"run_id": id_, "metrics": metrics, "params": parameters})
        place = urllib.parse.urlsplit(str(made["artifact_uri"]))
        if place.scheme != "mlflow-artifacts":
            raise TrackingError(f"The server keeps artifacts at {made['artifact_uri']}; it must serve them itself")
        for path, body in run.files.items():
            self._send(
                "PUT", f"/api/2.0/mlflow-artifacts/artifacts{place.path}/{path}", body, "application/octet-stream"
            )
        self._call("runs/update", {"run_id": id_, "status": "FINISHED", "end_time": int(time.time() * 1000)})
        return id_

    def delete(self, run: str) -> None:
        self._call("runs/delete", {"run_id": run})

    def _call(self, operation: str, given: dict[str, Any]) -> dict[str, Any]:
        answer = self._send("POST", f"/api/2.0/mlflow/{operation}", json.dumps(given).encode(), "application/json")
        return dict(json.loads(answer or b"{}"))

    def _send(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        headers = {**self._headers, "Content-Type": kind}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)  # noqa: S310 - checked
        try:
            with self._opener.open(request, timeout=_SECONDS) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as exc:
            said = " ".join(exc.read(500).decode(errors="replace").split())
            hint = " Check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD." if exc.code in (401, 403) else ""
            raise TrackingError(f"{self.url} refuses {path}: {exc.code} {said}.{hint}") from exc
        except (OSError, ValueError) as exc:
            raise TrackingError(f"{self.url} can't be reached: {exc}") from exc


def track(server: Server, root: Path, name: str) -> Iterator[tuple[str, bool]]:
    """Log all artifacts below `root`/models; yields each one's name and whether it was logged now."""
    runs = [run_of(artifact.name_of(root, folder), artifact.read(folder)) for folder in artifact.find(root)]
    if not runs:
        raise TrackingError(f"There are no artifacts in {root}; train first")
    experiment = server.experiment(name)
    known, unfinished = server.known(experiment)
    for id_ in unfinished:
        server.delete(id_)
    for run in runs:
        new = run.tags[DIGEST] not in known
        if new:
            server.log(experiment, run)
        yield run.name, new
