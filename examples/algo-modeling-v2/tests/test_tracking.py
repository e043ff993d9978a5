# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is logged of an artifact, and what a server that can't be used is told as.

Against a real MLflow it runs in `make demo`.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from algo_modeling import artifact
from algo_modeling.__main__ import main
from algo_modeling.tracking import Server, TrackingError, run_of, track


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tracked")
    assert main(["train", "--output", str(root), "--symbols", "AAPL", "--types", "momentum"]) == 0
    return root


def test_a_run_has_the_artifacts_identity_parameters_metrics_and_files(trained: Path) -> None:
    folder = artifact.find(trained)[0]
    files = artifact.read(folder)
    run = run_of(artifact.name_of(trained, folder), files)
    model, metrics = json.loads(files["model.json"]), json.loads(files["metrics.json"])
    assert run.name == "momentum/AAPL/" + folder.name
    assert run.parameters["symbol"] == "AAPL"
    assert {key: float(run.parameters[key]) for key in model["parameters"]} == model["parameters"]
    assert run.metrics["test/sharpe"] == metrics["test"]["sharpe"]
    assert run.metrics["buy_and_hold/annual_return"] == metrics["buy_and_hold"]["annual_return"]
    assert run.tags["manifest_sha256"] == artifact.sha256(files[artifact.MANIFEST])
    assert set(run.files) == {"model.json", "metrics.json", "manifest.json"}


def test_a_server_that_is_not_named_or_does_not_answer_is_an_error_in_one_line(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["track", "--output", str(trained)]) == 1
    assert capsys.readouterr().err == "algo_modeling: MLFLOW_TRACKING_URI must name a server: https://…\n"
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert main(["track", "--output", str(trained)]) == 1
    assert "can't be reached" in capsys.readouterr().err


def test_without_models_nothing_is_asked_of_the_server(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="train first"):
        list(track(Server({"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}), tmp_path, "algo-modeling"))
