# SPDX-License-Identifier: GPL-3.0-or-later
"""Parquet files → the data bucket: each object once, its checksum verified by S3 and read back."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from alpaca_websocket.store.settings import StoreSettings

# What a later try may mend.
FAILURES = (BotoCoreError, ClientError, OSError)


class UploadConflict(RuntimeError):
    """The bucket holds something else under this name; it is never overwritten."""


class Uploader:
    """Puts objects; the caller retries."""

    def __init__(self, settings: StoreSettings) -> None:
        self._bucket, self._prefix = settings.bucket, settings.prefix.strip("/")
        self._client = boto3.client(
            "s3",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint_url or None,
            config=Config(
                connect_timeout=settings.s3_timeout_seconds,
                read_timeout=settings.s3_timeout_seconds,
                retries={"total_max_attempts": 1},  # the worker's backoff is the only one
            ),
        )

    def key(self, name: Path) -> str:
        return f"{self._prefix}/{name.as_posix()}" if self._prefix else name.as_posix()

    def upload(self, path: Path, key: str) -> None:
        """Returns when S3 confirms size and SHA-256 of the object; doing it again changes nothing.

        Raises UploadConflict or one of FAILURES.
        """
        body = path.read_bytes()
        digest = _digest(body)
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ChecksumAlgorithm="SHA256",
                ChecksumSHA256=digest,
                ContentType="application/vnd.apache.parquet",
                IfNoneMatch="*",
            )
        except ClientError as error:
            # An upload whose confirmation got lost, or another writer's object: the comparison below tells.
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:
                raise
        head = self._client.head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
        # A server that keeps no checksums has to show the object itself.
        found = head.get("ChecksumSHA256") or self._digest(key)
        if head["ContentLength"] != len(body) or found != digest:
            raise UploadConflict(
                f"s3://{self._bucket}/{key} exists with other content; give each server its own prefix"
            )

    def _digest(self, key: str) -> str:
        return _digest(self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read())


def _digest(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()
