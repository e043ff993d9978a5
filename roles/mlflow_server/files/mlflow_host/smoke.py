# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logs a run as a client does, through TLS with the administrator's password, and reads its artifact back."""

from __future__ import annotations

import os
import secrets
from typing import Any

from .settings import HostError, Secret, Settings

EXPERIMENT = "algo-trading-verification"


def smoke(settings: Settings, secret: Secret) -> dict[str, Any]:
    """The run is deleted at the end, and its artifact with it; the experiment stays."""
    os.environ.update(
        MLFLOW_TRACKING_URI=settings.url,
        MLFLOW_TRACKING_USERNAME=secret.admin_username,
        MLFLOW_TRACKING_PASSWORD=secret.admin_password,
        MLFLOW_TRACKING_SERVER_CERT_PATH=settings.ca,
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",
        MLFLOW_HTTP_REQUEST_TIMEOUT="30",
        MLFLOW_DISABLE_TELEMETRY="true",
        GIT_PYTHON_REFRESH="quiet",
        NO_PROXY="localhost",
    )
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client = mlflow.MlflowClient()
    written, name = secrets.token_hex(16), "probe/written.txt"
    try:
        known = client.get_experiment_by_name(EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(EXPERIMENT)
        run = client.create_run(experiment, run_name="verification")
        client.log_metric(run.info.run_id, "answer", 42.0)
        client.log_text(run.info.run_id, written, name)
        read = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")
        metric = client.get_run(run.info.run_id).data.metrics.get("answer")
        if read != written or metric != 42.0:
            raise HostError(f"what run {run.info.run_id} has logged is not what is read back")
        get_artifact_repository(run.info.artifact_uri).delete_artifacts(name)
        client.set_terminated(run.info.run_id)
        client.delete_run(run.info.run_id)
    except (MlflowException, OSError) as error:
        raise HostError(f"a run cannot be logged and read back: {' '.join(str(error).split())[:500]}") from None
    return {"logged": run.info.run_id, "artifact": f"{settings.artifacts}/{experiment}/{run.info.run_id}"}
