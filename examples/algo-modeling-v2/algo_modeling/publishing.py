# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publication to S3: only what differs, the manifest last, nothing at all the second time."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import artifact

PREFIX = "models/"


class PublishError(Exception):
    """Publication can't go on; the message says what to do."""


class Remote(NamedTuple):
    """What S3 says about an object."""

    size: int
    modified: datetime


@dataclass
class Published:
    """What publication did to one artifact."""

    name: str
    uploaded: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def connect(region: str | None, endpoint_url: str | None, profile: str | None) -> Any:
    try:
        import boto3
    except ImportError as exc:
        raise PublishError("Publishing needs boto3: install algo-modeling[publish]") from exc
    session: Any = boto3.session.Session(profile_name=profile, region_name=region)
    return session.client("s3", endpoint_url=endpoint_url)


def ensure_bucket(s3: Any, bucket: str, tags: dict[str, str]) -> bool:
    """Create the bucket with these tags, unless there is one; whether it was created."""
    from botocore.exceptions import ClientError

    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as exc:
        if exc.response["Error"]["Code"] != "404":
            raise
    else:
        return False
    place = {} if s3.meta.region_name == "us-east-1" else {"LocationConstraint": s3.meta.region_name}
    s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": place} if place else {}))
    if tags:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": pairs})
    return True


def publish(s3: Any, bucket: str, root: Path) -> Iterator[Published]:
    """Publish every artifact below `root`, one by one.

    What is there already, by its manifest, is left alone.
    In a changed artifact, files go first and the manifest last: until then its readers know that it is unfinished.
    Artifacts in the bucket that are not below `root` stay: retiring a model is a decision of its own.
    """
    folders = artifact.find(root)
    if not folders:
        raise PublishError(f"There is no artifact below {root / 'models'}; run `python -m algo_modeling train` first")
    # All are verified before the first is uploaded.
    artifacts = [(artifact.name_of(root, folder), artifact.read(folder)) for folder in folders]
    remote = _listed(s3, bucket)
    for name, files in artifacts:
        base = f"{PREFIX}{name}/"
        there = {key.removeprefix(base): item for key, item in remote.items() if key.startswith(base)}
        yield _publish_one(s3, bucket, name, base, files, there)


def _publish_one(
    s3: Any, bucket: str, name: str, base: str, files: dict[str, bytes], there: dict[str, Remote]
) -> Published:
    done = Published(name)
    manifest = there.get(artifact.MANIFEST)
    old = _manifest(s3, bucket, base) if manifest else b""
    known = artifact.digests(old)
    for path, body in files.items():
        if path == artifact.MANIFEST:
            continue
        # A file newer than its manifest was changed behind the manifest's back, or by an interrupted publication.
        current = path in there and manifest and there[path].modified <= manifest.modified
        if current and there[path].size == len(body) and known.get(path) == artifact.sha256(body):
            continue
        _put(s3, bucket, base + path, body)
        done.uploaded.append(path)
    # The manifest is the last and therefore the newest file of its folder.
    if done.uploaded or old != files[artifact.MANIFEST]:
        _put(s3, bucket, base + artifact.MANIFEST, files[artifact.MANIFEST])
        done.uploaded.append(artifact.MANIFEST)
    for path in sorted(set(there) - set(files)):
        s3.delete_object(Bucket=bucket, Key=base + path)
        done.removed.append(path)
    return done


def _listed(s3: Any, bucket: str) -> dict[str, Remote]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX)
    items = (item for page in pages for item in page.get("Contents", []))
    return {item["Key"]: Remote(item["Size"], item["LastModified"]) for item in items}


def _manifest(s3: Any, bucket: str, base: str) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=base + artifact.MANIFEST)["Body"].read())


def _put(s3: Any, bucket: str, key: str, body: bytes) -> None:
    checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
    # S3 itself refuses bytes that do not have this digest.
    s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json", ChecksumSHA256=checksum)
