# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The S3 side of models.py: pages, groups of objects, and S3's failures in words."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import typing as t
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime

from ._errors import (
    AccessDenied,
    AlgoTradingError,
    Changed,
    InvalidInput,
    NotFound,
    Unreachable,
    WrongRegion,
    from_aws,
)

PAGE = 1000  # keys in a page of S3; also from how many objects on a model counts as large

# Sorts behind every key that one would find in a folder, and before the folder's next neighbour.
_LAST = "\U0010ffff"


class Entry(t.NamedTuple):
    path: str
    etag: str
    size: int
    modified: datetime


@dataclasses.dataclass
class Group:
    """Consecutive objects of one artifact, or one key that belongs to none."""

    artifact: str
    member: str
    size: int
    began: datetime | None = None
    page: int = 0
    seen: int = 0
    # Written to while it was listed, so that what was seen of it may never have existed as a whole.
    torn: bool = False
    entries: list[Entry] = dataclasses.field(default_factory=list)

    @property
    def folder(self) -> bool:
        return self.artifact.endswith("/")

    @property
    def large(self) -> bool:
        return self.seen >= PAGE


def is_placeholder(key: str, size: int) -> bool:
    """Whether this is the empty object by which consoles show an empty folder."""
    return key.endswith("/") and size == 0


def digest(evidence: list[tuple[str, str, int]]) -> str:
    """32 hexadecimal digits that change when a path, an ETag or a size does."""
    text = "".join(f"{path}\0{etag}\0{size}\n" for path, etag, size in sorted(evidence))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def groups(
    s3: t.Any,
    bucket: str,
    prefix: str,
    artifact_of: Callable[[str], str | None],
    *,
    exact: bool,
    region: str | None,
) -> Iterator[Group]:
    """The objects under the prefix, grouped by artifact in key order; large folders are left half-way."""
    current: Group | None = None
    start = last = ""
    number = 0
    while True:
        response = page(s3, bucket, prefix, start, number=number, region=region)
        date = _date(response)
        for item in response.get("Contents", []):
            key = item["Key"]
            if key <= last:
                raise Changed(
                    f"The bucket {bucket} was listed out of order ({key!r} after {last!r})",
                    remedy="Run again. If it persists, this is not a general purpose bucket and cannot hold models",
                )
            last = key
            artifact = artifact_of(key)
            if current is not None and artifact != current.artifact:
                yield current
                current = None
            if artifact is None:
                yield Group(artifact=key, member=key, size=item["Size"])
                continue
            if current is None:
                current = Group(artifact, member=key, size=item["Size"], began=date, page=number)
            _add(current, item, page=number, exact=exact)
        if not response.get("IsTruncated"):
            break
        if not response.get("Contents"):
            raise Changed(
                f"The bucket {bucket} returned an empty page with a continuation token",
                remedy="Run again",
            )
        start = last
        if current is not None and current.folder and current.large and not exact:
            start = max(last, current.artifact + _LAST)
        number += 1
    if current is not None:
        yield current


def _add(group: Group, item: dict[str, t.Any], *, page: int, exact: bool) -> None:
    key, modified = item["Key"], item["LastModified"]
    if is_placeholder(key, item["Size"]):
        return
    # Two pages show two moments. What was written between them makes a model that never existed as a whole.
    if page > group.page and group.began and modified > group.began:
        group.torn = True
    group.seen += 1
    if exact or group.seen <= PAGE:
        path = key[len(group.artifact) :] if group.folder else key.rsplit("/", 1)[-1]
        group.entries.append(_entry(item, path))


def _date(response: dict[str, t.Any]) -> datetime | None:
    """The moment of the answer by S3's own clock, the one that also stamps the objects."""
    header = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    with contextlib.suppress(ValueError, TypeError):
        return parsedate_to_datetime(header)
    return None


def page_entries(response: dict[str, t.Any], folder: str) -> list[Entry]:
    """The files of a folder that a page shows."""
    return [
        _entry(item, item["Key"][len(folder) :])
        for item in response.get("Contents", [])
        if not is_placeholder(item["Key"], item["Size"])
    ]


def _entry(item: dict[str, t.Any], path: str) -> Entry:
    return Entry(path, item["ETag"].strip('"'), item["Size"], item["LastModified"])


def page(
    s3: t.Any, bucket: str, prefix: str, start: str, *, number: int = 1, region: str | None = None
) -> dict[str, t.Any]:
    """A page of the keys that begin with the prefix, behind `start`. Pages count from 0."""
    request: dict[str, t.Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE}
    if start:
        # Not the continuation token: it can't skip, and one way to go on is enough.
        request["StartAfter"] = start
    try:
        response: dict[str, t.Any] = s3.list_objects_v2(**request)
    except Exception as exc:
        raise _failure(bucket, number, exc) from exc
    home = _home(response)
    if region and home and home != region:
        raise WrongRegion(
            f"The bucket {bucket} is in the region {home}, not in {region}",
            remedy=f"Set the region to {home}, or name a bucket of {region}: hosts reach S3 in their own region only",
        )
    return response


def _home(response: dict[str, t.Any]) -> str:
    return str(response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("x-amz-bucket-region", ""))


def _failure(bucket: str, number: int, exc: Exception) -> AlgoTradingError:
    response = getattr(exc, "response", None)
    home = _home(response) if isinstance(response, dict) else ""
    error = from_aws(
        f"list the bucket {bucket}",
        exc,
        {
            NotFound: "Create the bucket (site.yml of its environment does), or correct its name",
            AccessDenied: f"Allow s3:ListBucket on arn:aws:s3:::{bucket} for this identity, or use another one "
            "(profile, assume_role_arn)",
            WrongRegion: f"Set the region to {home or 'the one the bucket is in'}",
            InvalidInput: "Give the bucket name only, without s3:// and path",
            Unreachable: "Check the region, the endpoint_url and the network; "
            "the local environment needs its embedded AWS running",
        },
    )
    if number and isinstance(error, NotFound):
        return Changed(
            f"The bucket {bucket} was removed while it was being listed",
            remedy="Find out who removed it before you act on this listing",
        )
    return error
