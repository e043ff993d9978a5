# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model's manifest: what it vouches for, and whether the files are what it says.

A copy from bucket to bucket writes files in the order of their keys, some after the manifest. So a file that is newer
than its manifest is no proof that a publication goes on. The content decides, with a bounded number of requests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import typing as t
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from ._errors import NOT_FOUND, AccessDenied, error_code, from_aws, kind_of
from ._model_listing import PAGE, Entry, Group, page, page_entries

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 64 * 1024 * 1024
# The most that is read of one model to compare it with its manifest, and the most files that are asked for.
READ_LIMIT = 512 * 1024 * 1024
FILES_LIMIT = 10_000
_READERS = 8

# Verdicts, by the name of the status that they give to the model.
AGREES: t.Final = "published"
DIFFERS: t.Final = "publishing"
UNVERIFIED: t.Final = "unverified"
UNREADABLE: t.Final = "unreadable"

_ABSENT = frozenset({"NoSuchKey", "404"})


class ManifestRead(t.NamedTuple):
    etag: str
    size: int
    modified: datetime
    total_size: int
    total_objects: int


class Verdict(t.NamedTuple):
    status: t.Literal["published", "publishing", "unverified", "unreadable"]
    reason: str = ""


def read_manifest(s3: t.Any, bucket: str, group: Group) -> ManifestRead | None:
    """The manifest of a large model; None if there is none or it does not name its files."""
    key = group.artifact + MANIFEST
    try:
        response = s3.get_object(Bucket=bucket, Key=key)
        if response["ContentLength"] > MANIFEST_LIMIT:
            return None
        body = response["Body"].read()
    except Exception as exc:
        if error_code(exc) in _ABSENT:
            return None
        raise _failure(bucket, group, exc) from exc
    if group.began and response["LastModified"] > group.began:
        group.torn = True
    with contextlib.suppress(ValueError, KeyError, TypeError):
        sizes = [int(file["size"]) for file in json.loads(body)["files"]]
        return ManifestRead(
            etag=response["ETag"].strip('"'),
            size=len(body),
            modified=response["LastModified"],
            total_size=sum(sizes) + len(body),
            total_objects=len(sizes) + 1,
        )
    return None


def judge(s3: t.Any, bucket: str, group: Group, *, exact: bool) -> Verdict:
    """Whether a model matches its manifest, although some of its files were written after it.

    The manifest has to name exactly the files that are there, with their sizes, and of the newer ones the SHA-256.
    S3 tells that of an object that was uploaded with it. Other objects are read, up to a limit for the model.
    """
    try:
        return _judged(s3, bucket, group, exact=exact)
    except (ValueError, KeyError, TypeError):
        return Verdict(DIFFERS)
    except Exception as exc:
        if kind_of(exc) == NOT_FOUND:
            return Verdict(DIFFERS)
        error = _failure(bucket, group, exc)
        if isinstance(error, AccessDenied):
            return Verdict(UNREADABLE, f"its files cannot be compared with its {MANIFEST}: {error}".rstrip("."))
        raise error from exc


def _judged(s3: t.Any, bucket: str, group: Group, *, exact: bool) -> Verdict:
    files = json.loads(_body(s3, bucket, group.artifact + MANIFEST))["files"]
    named = {str(file["path"]): (int(file["size"]), str(file["sha256"]).lower()) for file in files}
    entries: Sequence[Entry] = group.entries
    if group.large and not exact:
        if len(named) > FILES_LIMIT:
            return _unverified(bucket, group, f"it has {len(named)} files; no more than {FILES_LIMIT} are compared")
        entries = _listed(s3, bucket, group, len(named) + 1)
    sizes = {entry.path: entry.size for entry in entries if entry.path != MANIFEST}
    if {path: size for path, (size, _digest) in named.items()} != sizes:
        return Verdict(DIFFERS)
    written = next(entry.modified for entry in entries if entry.path == MANIFEST)
    newer = [entry for entry in entries if entry.modified > written]
    if len(newer) > FILES_LIMIT:
        return _unverified(bucket, group, f"{len(newer)} files are newer; no more than {FILES_LIMIT} are compared")
    with ThreadPoolExecutor(_READERS) as readers:
        if sum(entry.size for entry in newer) > READ_LIMIT:
            # Only S3's own checksums are for free.
            told = list(readers.map(lambda entry: _told(s3, bucket, group, entry), newer))
            if any(found and found != named[entry.path][1] for entry, found in zip(newer, told, strict=True)):
                return Verdict(DIFFERS)
            newer = [entry for entry, found in zip(newer, told, strict=True) if not found]
            if (size := sum(entry.size for entry in newer)) > READ_LIMIT:
                most = f"no more than {READ_LIMIT // 2**20} MiB are read"
                return _unverified(bucket, group, f"S3 has no SHA-256 of {size // 2**20} MiB of them; {most}")
        found = readers.map(lambda entry: _sha256(s3, bucket, group, entry) == named[entry.path][1], newer)
        return Verdict(AGREES if all(found) else DIFFERS)


def _unverified(bucket: str, group: Group, why: str) -> Verdict:
    address = f"s3://{bucket}/{group.artifact}{MANIFEST}"
    return Verdict(
        UNVERIFIED,
        f"files of its model are newer than its {MANIFEST} and cannot be compared with it: {why}. If the copy is "
        f"complete, write the manifest once more, last: aws s3 cp {address} {address} --metadata-directive REPLACE",
    )


def _listed(s3: t.Any, bucket: str, group: Group, most: int) -> list[Entry]:
    """All files of a large model; no more pages than those that its manifest names need."""
    entries: list[Entry] = []
    start, more = "", True
    while more and len(entries) <= most + PAGE:
        response = page(s3, bucket, group.artifact, start)
        entries += page_entries(response, group.artifact)
        more = bool(response.get("IsTruncated") and response.get("Contents"))
        start = response["Contents"][-1]["Key"] if more else ""
    return entries


def _body(s3: t.Any, bucket: str, key: str) -> bytes:
    response = s3.get_object(Bucket=bucket, Key=key)
    if response["ContentLength"] > MANIFEST_LIMIT:
        raise ValueError
    content: bytes = response["Body"].read()
    return content


def _told(s3: t.Any, bucket: str, group: Group, entry: Entry) -> str:
    """The SHA-256 that S3 knows of a file, or empty."""
    return _checksum(s3.head_object(Bucket=bucket, Key=group.artifact + entry.path, ChecksumMode="ENABLED"), entry)


def _sha256(s3: t.Any, bucket: str, group: Group, entry: Entry) -> str:
    response = s3.get_object(Bucket=bucket, Key=group.artifact + entry.path, ChecksumMode="ENABLED")
    if told := _checksum(response, entry):
        response["Body"].close()
        return told
    found = hashlib.sha256()
    while block := response["Body"].read(1024 * 1024):
        found.update(block)
    return found.hexdigest()


def _checksum(response: t.Any, entry: Entry) -> str:
    if response["ETag"].strip('"') != entry.etag:
        raise ValueError  # written since it was listed
    told = str(response.get("ChecksumSHA256") or "")
    whole = told and "-" not in told and response.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
    return base64.b64decode(told).hex() if whole else ""


def _failure(bucket: str, group: Group, exc: Exception) -> Exception:
    return from_aws(
        f"read the files of the model s3://{bucket}/{group.artifact}",
        exc,
        {
            AccessDenied: f"Allow s3:GetObject on arn:aws:s3:::{bucket}/{group.artifact}* for this identity, and "
            "kms:Decrypt if a KMS key encrypts it"
        },
    )
