# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The calls to AWS, each with its own wording of what failed. boto3 is loaded at the first of them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from .errors import HostError, NotYet, Refused

# The answer of somebody who knows: waiting does not change it.
_FINAL = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "NoSuchBucket",
        "NoSuchKey",
        "404",
        "403",
        "ResourceNotFoundException",
        "ParameterNotFound",
        "InvalidRequestException",
    }
)


class Entry(NamedTuple):
    """One object of a model's folder; the path is relative to it."""

    path: str
    etag: str
    size: int
    modified: datetime


class Aws:
    """Clients of the host's own role.

    :param endpoint: another address of all services; empty for AWS
    """

    def __init__(self, region: str, endpoint: str = "") -> None:
        import boto3
        from botocore.config import Config

        config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 4})
        session: Any = boto3.Session(region_name=region)

        def client(name: str) -> Any:
            return session.client(name, endpoint_url=endpoint or None, config=config)

        self._client = client

    def parameter(self, name: str) -> str:
        return str(
            _asked("read the parameter", name, self._client("ssm").get_parameter, Name=name)["Parameter"]["Value"]
        )

    def secret(self, name: str) -> dict[str, str]:
        """
        :raises Refused: if it holds no keys
        """
        answer = _asked("read the secret", name, self._client("secretsmanager").get_secret_value, SecretId=name)
        try:
            keys = json.loads(answer.get("SecretString") or "")
            found = {each: str(keys[each]) for each in ("key_id", "secret_key")}
        except (ValueError, KeyError, TypeError):
            found = {}
        if not found or not all(found.values()):
            raise Refused(
                f"The secret {name} holds no key_id and secret_key. Put the broker's keys into it and boot again."
            )
        return found

    def objects(self, bucket: str, folder: str) -> list[Entry]:
        """Everything below a folder, empty folders' placeholders left out."""
        pages = self._client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder)
        listed = _asked(
            "list", f"s3://{bucket}/{folder}", lambda: [item for page in pages for item in page.get("Contents", [])]
        )
        return [
            Entry(item["Key"][len(folder) :], item["ETag"].strip('"'), item["Size"], item["LastModified"])
            for item in listed
            if not (item["Key"].endswith("/") and item["Size"] == 0)
        ]

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        body = _asked("read", f"s3://{bucket}/{key}", self._client("s3").get_object, Bucket=bucket, Key=key)["Body"]
        while chunk := _asked("read", f"s3://{bucket}/{key}", body.read, 1 << 20):
            yield chunk

    def log(self, group: str, stream: str, text: str) -> None:
        """Put one event into a log stream of its own."""
        logs = self._client("logs")
        _asked("create the log stream", stream, logs.create_log_stream, logGroupName=group, logStreamName=stream)
        event = {"timestamp": int(time.time() * 1000), "message": text}
        _asked(
            "write the log", stream, logs.put_log_events, logGroupName=group, logStreamName=stream, logEvents=[event]
        )


def _asked(what: str, thing: str, call: Any, *args: Any, **given: Any) -> Any:
    """
    :raises Refused: if AWS says no
    :raises NotYet: if it does not answer, or may answer otherwise later
    """
    try:
        return call(*args, **given)
    except Exception as error:  # botocore's errors have no common base but this
        raise error_of(what, thing, error) from error


def error_of(what: str, thing: str, error: Exception) -> HostError:
    response = getattr(error, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
    if code in _FINAL:
        return Refused(f"Cannot {what} {thing}: {code}. Check that it exists and that the host's role may read it.")
    return NotYet(f"Cannot {what} {thing}: {code or type(error).__name__}: {error}".rstrip("."))


def endpoint_url() -> str:
    """Another address of AWS, as systemd's units have it. A shell and sudo do not: systemd is asked for it."""
    given = os.environ.get("AWS_ENDPOINT_URL", "")
    if given or "INVOCATION_ID" in os.environ or not Path("/run/systemd/system").is_dir():
        return given
    command = ["/usr/bin/systemctl", "show-environment"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    lines = [line.partition("=") for line in shown.stdout.splitlines()]
    return next((value for name, _equals, value in lines if name == "AWS_ENDPOINT_URL"), "")
