"""A package is planned, deployed and left alone by amazon.aws.lambda, and updated when its source changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.conftest import Aws, Tasks

ROLE = {
    "RoleName": "package",
    "AssumeRolePolicyDocument": json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    ),
}


def package(source: Path, dest: Path) -> dict[str, Any]:
    return {
        "algo.trading.lambda_package": {
            "dest": str(dest),
            "sources": [
                {"path": str(source), "archive_path": "day"},
                {"content": '{"zone": "America/New_York"}', "archive_path": "day/calendar.json"},
            ],
        }
    }


def function(role: str, dest: Path) -> dict[str, Any]:
    return {
        "amazon.aws.lambda": {
            "name": "package",
            "zip_file": str(dest),
            "runtime": "python3.13",
            "handler": "day.handlers.run",
            "role": role,
        }
    }


def test_a_function_follows_its_source_and_nothing_else(fresh_aws: Aws, tasks: Tasks, tmp_path: Path) -> None:
    role = fresh_aws.client("iam").create_role(**ROLE)["Role"]["Arn"]
    source, dest = tmp_path / "source", tmp_path / "build" / "day.zip"
    source.mkdir()
    (source / "handlers.py").write_text("def run(event, context): return 1\n")
    both = [package(source, dest), function(role, dest)]

    # The plan needs the package, on a machine that has never built it.
    _built, planned = tasks(*both, check=True, diff=True)
    assert planned["changed"]
    assert "failed" not in planned or not planned["failed"]

    built, deployed, rebuilt, left = tasks(*both, *both)
    assert (built["changed"], deployed["changed"], rebuilt["changed"], left["changed"]) == (False, True, False, False)
    assert built["files"] == ["day/calendar.json", "day/handlers.py"]
    reported = fresh_aws.client("lambda").get_function(FunctionName="package")["Configuration"]
    assert reported["CodeSha256"] == built["code_sha256"]
    assert reported["CodeSize"] == built["size"] == dest.stat().st_size

    # Another machine, other times and permissions: the same bytes, no update.
    (source / "handlers.py").touch(0o600)
    (source / "handlers.pyc").write_bytes(b"compiled")
    again, left = tasks(*both)
    assert (again["sha256"], left["changed"]) == (built["sha256"], False)

    (source / "handlers.py").write_text("def run(event, context): return 2\n")
    built, updated = tasks(*both, diff=True)
    assert (built["changed"], updated["changed"]) == (True, True)
    assert built["diff"]["before"]["day/calendar.json"] == built["diff"]["after"]["day/calendar.json"]
    assert built["diff"]["before"]["day/handlers.py"] != built["diff"]["after"]["day/handlers.py"]


def test_a_package_that_can_not_be_built_says_why(tasks: Tasks, tmp_path: Path) -> None:
    missing, nothing = tasks(
        package(tmp_path / "missing", tmp_path / "p.zip"),
        {"algo.trading.lambda_package": {"dest": str(tmp_path / "p.zip"), "sources": [{"archive_path": "x"}]}},
    )
    assert f"{tmp_path}/missing is neither a file nor a folder" in missing["msg"]
    assert "one of the following is required: path, content" in nothing["msg"]
    assert not (tmp_path / "p.zip").exists()
