from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from algo_modeling import artifact, publishing
from algo_modeling.__main__ import main

ROOT = Path(__file__).parents[1]


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    assert main(["train", "--output", str(root)]) == 0
    return root


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    for path, body in tree(trained).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(body)
    return tmp_path


def test_twelve_artifacts_of_two_types_and_three_symbols(trained: Path) -> None:
    folders = artifact.find(trained)
    names = [artifact.name_of(trained, folder) for folder in folders]
    assert len(names) == 12
    assert len({name.split("/")[0] for name in names}) == 2
    assert len({name.split("/")[1] for name in names}) == 3
    for folder, name in zip(folders, names, strict=True):
        assert re.fullmatch(r"\w+/[A-Z]+/\w+-outer_\d_inner_\d", name)
        assert list(artifact.read(folder)) == ["metrics.json", "model.json", "manifest.json"]
        model = json.loads((folder / "model.json").read_text())
        assert f"{model['type']}/{model['symbol']}/{model['model']}" in name
        assert re.fullmatch("[0-9a-f]{64}", model["trained_on"]["sha256"])
        assert model["code"]["sha256"] == artifact.code_digest()


def test_training_again_elsewhere_gives_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "algo_modeling", "train", "--output", str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S603  # our own program
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "12 written" in done.stdout
    assert tree(tmp_path) == tree(trained)


def test_training_again_in_place_writes_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: (copy / path).stat().st_mtime_ns for path in tree(copy)}
    assert main(["train", "--output", str(copy)]) == 0
    assert {path: (copy / path).stat().st_mtime_ns for path in tree(copy)} == before
    assert "0 written, 12 unchanged, 0 removed" in capsys.readouterr().out


def test_artifacts_of_an_earlier_training_go_and_foreign_files_stay(copy: Path) -> None:
    (copy / "models" / "notes.txt").write_text("mine")
    assert main(["train", "--output", str(copy), "--symbols", "AAPL", "--types", "momentum", "--all"]) == 0
    assert len(artifact.find(copy)) == 4
    assert (copy / "models" / "notes.txt").read_text() == "mine"


def test_verify_finds_a_changed_byte(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--output", str(copy)]) == 0
    target = artifact.find(copy)[3] / "model.json"
    target.write_bytes(target.read_bytes().replace(b"outer", b"other"))
    assert main(["verify", "--output", str(copy)]) == 1
    assert "is not the file that the manifest names" in capsys.readouterr().err


def puts(s3: Any) -> int:
    count = s3.asked.count("PutObject")
    s3.asked.clear()
    return int(count)


def published(s3: Any, root: Path) -> dict[str, list[str]]:
    return {done.name: done.uploaded for done in publishing.publish(s3, "models-test", root) if done.uploaded}


def test_publishing_twice_uploads_nothing_the_second_time(
    trained: Path, s3: Any, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = ["--bucket-tag", "Project=algo-trading", "--bucket-tag", "Environment=local"]
    command = ["publish", "--output", str(trained), "--bucket", "models-test", "--endpoint-url", endpoint]
    command += ["--region", "us-east-1", "--create-bucket", *tags]
    assert main(command) == 0
    assert "12 changed, 36 files uploaded" in capsys.readouterr().out
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="models-test")["Contents"]]
    assert sorted(keys) == sorted(tree(trained))
    assert {tag["Key"]: tag["Value"] for tag in s3.get_bucket_tagging(Bucket="models-test")["TagSet"]} == {
        "Environment": "local",
        "Project": "algo-trading",
    }
    assert main(command) == 0
    assert "0 changed, 0 files uploaded" in capsys.readouterr().out
    s3.asked.clear()
    assert published(s3, trained) == {}
    assert puts(s3) == 0


def test_only_what_differs_is_uploaded_and_the_manifest_comes_last(copy: Path, s3: Any) -> None:
    publishing.ensure_bucket(s3, "models-test", {})
    published(s3, copy)
    puts(s3)
    assert main(["train", "--output", str(copy), "--types", "momentum"]) == 0
    folder = artifact.find(copy)[0]
    name = artifact.name_of(copy, folder)
    metrics = artifact.canonical({"another": "run"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][0] |= {"size": len(metrics), "sha256": artifact.sha256(metrics)}
    (folder / "metrics.json").write_bytes(metrics)
    (folder / "manifest.json").write_bytes(artifact.canonical(manifest))
    assert published(s3, copy) == {name: ["metrics.json", "manifest.json"]}
    assert puts(s3) == 2
    # Retired models stay in the bucket, until somebody decides to remove them.
    assert len(s3.list_objects_v2(Bucket="models-test")["Contents"]) == 36


def test_publication_heals_what_was_lost_changed_or_added_in_the_bucket(trained: Path, s3: Any) -> None:
    publishing.ensure_bucket(s3, "models-test", {})
    published(s3, trained)
    one, two, three, four = (artifact.name_of(trained, folder) for folder in artifact.find(trained)[:4])
    s3.delete_object(Bucket="models-test", Key=f"models/{one}/model.json")
    s3.delete_object(Bucket="models-test", Key=f"models/{two}/manifest.json")
    s3.put_object(Bucket="models-test", Key=f"models/{three}/left-over.json", Body=b"x")
    s3.put_object(Bucket="models-test", Key=f"models/{four}/model.json", Body=b"changed")
    assert published(s3, trained) == {
        one: ["model.json", "manifest.json"],
        two: ["metrics.json", "model.json", "manifest.json"],
        four: ["model.json", "manifest.json"],
    }
    assert "left-over" not in str(s3.list_objects_v2(Bucket="models-test"))
    assert published(s3, trained) == {}


def test_nothing_is_uploaded_when_one_artifact_is_broken(copy: Path, s3: Any, endpoint: str) -> None:
    publishing.ensure_bucket(s3, "models-test", {})
    (artifact.find(copy)[-1] / "model.json").unlink()
    with pytest.raises(artifact.ArtifactError, match="no complete artifact"):
        published(s3, copy)
    assert puts(s3) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["publish", "--bucket", "models-test"], "no artifact below"),
        (["publish", "--bucket", "no-bucket-here"], "no artifact below"),
        (["train", "--outer", "0"], "at least one outer"),
        (["train", "--outer", "99"], "too few"),
    ],
)
def test_mistakes_are_said_in_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, s3: Any, endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--endpoint-url", endpoint, "--region", "us-east-1"] if arguments[0] == "publish" else []
    assert main([*arguments, "--output", str(tmp_path), *more]) == 1
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_a_missing_bucket_is_said(trained: Path, s3: Any, endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--output", str(trained), "--bucket", "no-such", "--endpoint-url", endpoint, "--region", "us-east-1"]
    assert main(["publish", *arguments]) == 1
    assert "NoSuchBucket" in capsys.readouterr().err
