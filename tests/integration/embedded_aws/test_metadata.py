"""The role's credentials that a host gets from its metadata: they expire, and new ones are there before."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from embedded_aws.account import expired, role, session_of
from embedded_aws.hosts import metadata


@pytest.fixture
def host_role() -> Any:
    with mock_aws():
        iam = boto3.client("iam", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
        iam.create_role(RoleName="host", AssumeRolePolicyDocument=json.dumps({"Statement": []}))
        yield role("arn:aws:iam::123456789012:role/host")


def test_credentials_are_kept_while_they_last_and_renewed_before_they_end(
    host_role: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = metadata.Metadata(SimpleNamespace(), threading.RLock(), SimpleNamespace())
    host = SimpleNamespace(id="i-1", region="us-east-1")
    first = json.loads(service._role(host, host_role))
    assert json.loads(service._role(host, host_role))["AccessKeyId"] == first["AccessKeyId"]
    assert session_of(first["AccessKeyId"]) == "i-1"
    assert not expired(first["AccessKeyId"])

    now = time.time()
    monkeypatch.setattr(metadata.time, "time", lambda: now + 21_600 - 800)
    second = json.loads(service._role(host, host_role))
    assert second["AccessKeyId"] != first["AccessKeyId"]
    assert not expired(first["AccessKeyId"])  # the old ones are still good for a moment
    monkeypatch.setattr(metadata.time, "time", lambda: now + 21_601)
    assert expired(first["AccessKeyId"])
