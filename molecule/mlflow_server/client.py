"""A client on the host, with MLflow's own library: logs a run with an artifact, prints what it reads back."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

os.environ.update(
    MLFLOW_TRACKING_SERVER_CERT_PATH="/etc/mlflow-server/tls/ca.pem",
    MLFLOW_DISABLE_TELEMETRY="true",
)
import mlflow

mlflow.set_experiment("molecule")
with mlflow.start_run(run_name="first") as run:
    mlflow.log_params({"outer": 0, "inner": 1})
    mlflow.log_metric("sharpe", 1.5)
    mlflow.log_text("weights", "model/weights.txt")
(found,) = mlflow.MlflowClient().search_runs([run.info.experiment_id], "metrics.sharpe > 1", max_results=1)
text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/model/weights.txt")
place = f"{run.info.experiment_id}/{run.info.run_id}/artifacts/model/weights.txt"
started = datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
print(
    json.dumps(
        {"started": started, "metrics": found.data.metrics, "params": found.data.params, "text": text, "place": place}
    )
)
