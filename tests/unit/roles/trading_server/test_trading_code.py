"""The program that gets the trading code on the controller: with real files, a real git and moto's S3."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

PROGRAM = Path(__file__).parents[4] / "roles" / "trading_server" / "files" / "trading_code.py"
_SPEC = importlib.util.spec_from_file_location("trading_code", PROGRAM)
assert _SPEC is not None
assert _SPEC.loader is not None
code: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(code)

LOCK = "# pinned\nnumpy==2.4.6 \\\n    --hash=sha256:" + "0" * 64 + " \\\n    --hash=sha256:" + "1" * 64 + "\n"
IN_WHEEL = "algo_modeling-2.1.0.data/data/share/algo-trader/requirements-python{}.txt"
# A backend of its own, in the repository: no test needs a registry.
BACKEND = """
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "algo_modeling-2.1.0-{tag}.whl", "algo_modeling-2.1.0.dist-info"
    with open(os.path.join(os.environ["BUILDS"]), "a") as log:
        log.write("built ")
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        def add(path, text):
            wheel.writestr(zipfile.ZipInfo(path), text)
        add("algo_trader.py", open("algo_trader.py").read())
        add(info + "/METADATA", "Metadata-Version: 2.1\\nName: algo-modeling\\nVersion: 2.1.0\\n")
        add(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n")
        add(info + "/entry_points.txt", "[console_scripts]\\nalgo-trader = algo_trader:main\\n")
        add("algo_modeling-2.1.0.data/data/share/algo-trader/requirements-python3.11.txt", "")
        add(info + "/RECORD", "")
    return name
"""


def wheel(folder: Path, *, lock: str | None = LOCK, command: str = "algo-trader") -> dict[str, Any]:
    path = folder / "algo_modeling-2.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("algo_modeling-2.1.0.dist-info/entry_points.txt", f"[console_scripts]\n{command} = x:main\n")
        if lock is not None:
            made.writestr(IN_WHEEL.format("3.11"), lock)
    return {"wheel": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def refusal(request: dict[str, Any], cache: Path) -> str:
    with pytest.raises(code.CodeError) as told:
        code.get(request, cache)
    return str(told.value)


def test_a_file_is_taken_with_the_versions_in_it(tmp_path: Path) -> None:
    request = wheel(tmp_path) | {"python": "3.11"}
    found = code.get(request, tmp_path / "cache")
    assert found["path"] == request["wheel"]
    assert found["id"] == f"2.1.0-{request['sha256'][:12]}"
    assert Path(found["requirements"]).read_text() == LOCK


def test_other_requirements_make_another_environment(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(LOCK.replace("2.4.6", "2.4.7 ; python_version < '3.12'"))
    request = wheel(tmp_path)
    found = code.get(request | {"requirements": str(other)}, tmp_path / "cache")
    assert found["id"] != code.get(request, tmp_path / "cache")["id"]
    assert Path(found["requirements"]).read_text() == other.read_text()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sha256": "0" * 64}, "and trading_server_wheel_sha256 is 0000"),
        ({"sha256": ""}, "needs trading_server_wheel_sha256"),
        ({"sha256": "abc"}, "which is no SHA-256"),
        ({"wheel": "/nowhere/x-1-py3-none-any.whl"}, "the controller has no such file"),
        ({"wheel": "s3://bucket"}, "must be s3://BUCKET/KEY"),
        ({"version": "2.0.0"}, "is version 2.1.0, and 2.0.0 is released"),
        ({"git": "https://git.example/x"}, "Set one of"),
        ({"wheel": ""}, "Set one of"),
        ({"requirements": "/nowhere"}, "trading_server_requirements is /nowhere"),
        ({"python": "3.12"}, "does not contain share/algo-trader/requirements-python3.12.txt"),
    ],
)
def test_wrong_settings_are_refused_with_the_remedy(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    assert told in refusal(wheel(tmp_path) | changes, tmp_path / "cache")


@pytest.mark.parametrize(
    "line",
    ["numpy", "numpy==2.4.6", "numpy>=2 --hash=sha256:" + "0" * 64, "--index-url=https://x.example/simple", "-e .",
     "numpy @ https://x.example/numpy.whl --hash=sha256:" + "0" * 64],
)  # fmt: skip
def test_what_is_not_pinned_by_a_hash_is_refused(tmp_path: Path, line: str) -> None:
    assert "this is something else" in refusal(wheel(tmp_path, lock=LOCK + line + "\n"), tmp_path / "cache")


def test_a_wheel_without_versions_or_without_the_command_is_refused(tmp_path: Path) -> None:
    assert "does not contain" in refusal(wheel(tmp_path, lock=None), tmp_path / "cache")
    assert "has no command algo-trader" in refusal(wheel(tmp_path, command="other"), tmp_path / "cache")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {"endpoint_url": f"http://{host}:{port}", "access_key": "test", "secret_key": "test", "region": "us-east-1"}
    server.stop()


def test_a_wheel_in_s3_is_fetched_once_and_compared(tmp_path: Path, s3: dict[str, str]) -> None:
    given = wheel(tmp_path)
    client = boto3.client("s3", endpoint_url=s3["endpoint_url"], region_name="us-east-1",
                          aws_access_key_id="test", aws_secret_access_key="test")  # fmt: skip
    client.create_bucket(Bucket="code")
    key = f"releases/{Path(given['wheel']).name}"
    client.upload_file(given["wheel"], "code", key)
    request = {"wheel": f"s3://code/{key}", "sha256": given["sha256"], "connection": s3}
    assert "has the SHA-256" in refusal(request | {"sha256": "0" * 64}, tmp_path / "cache")
    assert code.get(request, tmp_path / "cache")["sha256"] == given["sha256"]
    client.delete_object(Bucket="code", Key=key)
    assert code.get(request, tmp_path / "cache")["sha256"] == given["sha256"]
    told = refusal(request, tmp_path / "another cache")
    assert "cannot be fetched" in told
    assert "s3:GetObject" in told


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet")
        self.builds = folder.parent / "builds"

    def git(self, *args: str) -> str:
        who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a",
               "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_CONFIG_GLOBAL": "/dev/null"}  # fmt: skip
        return subprocess.run(
            ["git", *args], cwd=self.folder, env={**os.environ, **who}, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit(self, text: str, tag: str = "py3-none-any") -> str:
        (self.folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        (self.folder / "backend.py").write_text(BACKEND.replace("{tag}", tag))
        (self.folder / "algo_trader.py").write_text(text)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "repository")
    monkeypatch.setenv("BUILDS", str(made.builds))
    return made


def test_a_commit_is_built_once_and_stays_what_it_was(tmp_path: Path, repository: Repository) -> None:
    first = repository.commit("first")
    repository.commit("second")
    request = {"git": f"file://{repository.folder}", "commit": first}
    found = code.get(request, tmp_path / "cache")
    assert found["id"] == f"2.1.0-{first[:12]}"
    with zipfile.ZipFile(found["path"]) as built:
        assert built.read("algo_trader.py") == b"first"
    assert code.get(request, tmp_path / "cache") == found
    assert repository.builds.read_text() == "built "
    assert code.get(request, tmp_path / "another cache")["sha256"] == found["sha256"]


def test_what_is_no_commit_of_the_repository_is_refused(tmp_path: Path, repository: Repository) -> None:
    commit = repository.commit("first")
    for given in ("main", "v2.1.0", commit[:12], ""):
        assert "must be a full commit id" in refusal({"git": str(repository.folder), "commit": given}, tmp_path)
    told = refusal({"git": f"file://{repository.folder}", "commit": "0" * 40}, tmp_path / "cache")
    assert "cannot be read" in told
    native = repository.commit("native", tag="cp311-cp311-linux_x86_64")
    told = refusal({"git": f"file://{repository.folder}", "commit": native}, tmp_path / "cache")
    assert "give it as trading_server_wheel" in told


@pytest.mark.parametrize("user", ["deploy:hunter2", "hunter2"])
def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path, user: str) -> None:
    request = {"git": f"https://{user}@git.example/x.git", "commit": "0" * 40}
    done = subprocess.run(
        [sys.executable, PROGRAM, tmp_path], input=json.dumps(request), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Remove it from the URL" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
