# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Earlier publications of a model in a bucket with versions, and how one of them is put back.

A manifest names all files of a publication with their SHA-256. So each version of the manifest is a publication, and
its files are found among the versions of the objects by their content. The manifest is written last: until then the
model is not what its manifest says, and no server takes it.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

from ._aws import pages
from ._errors import AlgoTradingError, InvalidInput, NotFound, from_aws
from ._model_manifest import MANIFEST

# Publications that are looked at, the newest first.
SHOWN = 20
_CHUNK = 1024 * 1024
_RECORD = "rolled-back"


@dataclasses.dataclass(frozen=True)
class Publication:
    """One version of a model.

    :param version: the first 12 digits of its manifest's SHA-256.
    :param files: path to size and SHA-256.
    :param current: whether its manifest is the present one.
    :param others: files that are there now with another content, or not at all; of the present one only.
    """

    version: str
    published: datetime
    manifest_id: str
    files: Mapping[str, tuple[int, str]]
    current: bool
    others: Sequence[str] = ()

    def __str__(self) -> str:
        now = ", the present one" if self.current else ""
        if self.others:
            now += f", which its files do not match ({', '.join(self.others)}); put it back to repair them"
        return f"{self.version} of {self.published:%Y-%m-%dT%H:%M:%SZ}, {len(self.files)} files{now}"


@dataclasses.dataclass(frozen=True)
class Restoration:
    """What makes the folder that publication: versions to copy, paths to delete, the manifest if anything is done."""

    copies: Mapping[str, str]
    deletes: Sequence[str]
    manifest_id: str

    @property
    def changes(self) -> bool:
        return bool(self.copies or self.deletes or self.manifest_id)


class ModelHistory:
    """A model's folder and the versions of its objects.

    :param folder: key of the folder, with the slash at its end.
    :param owner: account that the bucket must belong to; empty for any.
    """

    def __init__(self, s3: t.Any, bucket: str, folder: str, owner: str = "") -> None:
        self._s3, self._bucket, self._folder = s3, bucket, folder
        self._owned = {"ExpectedBucketOwner": owner} if owner else {}
        self._versions: dict[str, list[dict[str, t.Any]]] = {}

    def read(self, *, compare: bool = False) -> list[Publication]:
        """Its publications, newest first, each once.

        :param compare: whether to compare the present one with the files that are there
        :raises NotFound: if there is none
        :raises AlgoTradingError: as S3 answers
        """
        try:
            listed = list(
                pages(
                    self._s3, "list_object_versions", "Versions",
                    Bucket=self._bucket, Prefix=self._folder, **self._owned,
                )
            )  # fmt: skip
            for version in listed:  # of one key, S3 lists the newest first
                self._versions.setdefault(version["Key"].removeprefix(self._folder), []).append(version)
            found: dict[str, Publication] = {}
            for each in self._publications():
                if each.current and compare:
                    each = dataclasses.replace(each, others=self._others(each))
                found.setdefault(each.version, each)
        except AlgoTradingError:
            raise
        except Exception as error:
            raise from_aws(f"read the versions of s3://{self._bucket}/{self._folder}", error) from error
        if not found:
            raise NotFound(
                f"s3://{self._bucket}/{self._folder} has no {MANIFEST}, also none that was replaced",
                remedy="Name a model as in the tag Model; one without a manifest is published again instead",
            )
        return list(found.values())

    def restoration(self, wanted: Publication) -> Restoration:
        """
        :raises NotFound: if a file of it is no longer there
        """
        copies = {}
        for path, (size, digest) in sorted(wanted.files.items()):
            version = self._with_content(path, size, digest, wanted.published)
            if not version["IsLatest"]:
                copies[path] = str(version["VersionId"])
        deletes = sorted(
            path
            for path, versions in self._versions.items()
            if path not in wanted.files and path != MANIFEST and any(each["IsLatest"] for each in versions)
        )
        same = wanted.current and not copies and not deletes
        return Restoration(copies, deletes, "" if same else wanted.manifest_id)

    def restore(self, what: Restoration, record: str) -> None:
        """Put it back, the manifest last, with `record` in its metadata. After a kill the same call goes on.

        :raises AlgoTradingError: as S3 answers
        """
        try:
            for path, version in what.copies.items():
                self._copy(path, version)
            for path in what.deletes:
                self._s3.delete_object(Bucket=self._bucket, Key=self._folder + path, **self._owned)
            if what.manifest_id:
                head = self._s3.head_object(**self._object(MANIFEST, what.manifest_id))
                # Metadata are ASCII, and 2 KB at most.
                metadata = {**head["Metadata"], _RECORD: quote(record, safe=" :,;.()-/'\"=@")[:1000]}
                given = {"Metadata": metadata, "MetadataDirective": "REPLACE", "ContentType": head["ContentType"]}
                self._copy(MANIFEST, what.manifest_id, **given)
        except Exception as error:
            raise from_aws(f"put the earlier version of s3://{self._bucket}/{self._folder} back", error) from error

    def _publications(self) -> Iterator[Publication]:
        for version in self._versions.get(MANIFEST, [])[:SHOWN]:
            body = self._s3.get_object(**self._object(MANIFEST, version["VersionId"]))["Body"].read()
            try:
                named = json.loads(body)["files"]
                files = {str(each["path"]): (int(each["size"]), str(each["sha256"]).lower()) for each in named}
            except (ValueError, KeyError, TypeError):
                continue  # what it consisted of is not known
            yield Publication(
                hashlib.sha256(body).hexdigest()[:12],
                version["LastModified"],
                str(version["VersionId"]),
                files,
                bool(version["IsLatest"]),
            )

    def _others(self, publication: Publication) -> list[str]:
        """Its files that are there with another content, or not at all."""

        def there(path: str, size: int, digest: str) -> bool:
            latest = [each for each in self._versions.get(path, []) if each["IsLatest"]]
            return any(each["Size"] == size and self._digest(path, each["VersionId"]) == digest for each in latest)

        return [path for path, content in sorted(publication.files.items()) if not there(path, *content)]

    def _with_content(self, path: str, size: int, digest: str, published: datetime) -> dict[str, t.Any]:
        """The version of a file with this content, the present one if it has it."""
        candidates = [each for each in self._versions.get(path, []) if each["Size"] == size]
        # Files are written before their manifest, mostly; the newest of those is most likely it.
        candidates.sort(key=lambda each: (not each["IsLatest"], each["LastModified"] > published))
        for each in candidates:
            if self._digest(path, each["VersionId"]) == digest:
                return each
        raise NotFound(
            f"{self._folder}{path} is no longer there with the content of that version. Nothing was changed",
            remedy="S3 keeps replaced objects for aws_trading_server_noncurrent_days. Publish that model again",
        )

    def _digest(self, path: str, version: str) -> str:
        """SHA-256 in hexadecimal digits: S3's own if it was uploaded with one, otherwise of what is read."""
        told = self._s3.head_object(**self._object(path, version), ChecksumMode="ENABLED").get("ChecksumSHA256", "")
        if told and "-" not in told:  # a checksum of checksums has the number of parts
            return base64.b64decode(told).hex()
        content = hashlib.sha256()
        body = self._s3.get_object(**self._object(path, version))["Body"]
        while block := body.read(_CHUNK):
            content.update(block)
        return content.hexdigest()

    def _copy(self, path: str, version: str, **more: t.Any) -> None:
        source = {"Bucket": self._bucket, "Key": self._folder + path, "VersionId": version}
        owned = {"ExpectedSourceBucketOwner": self._owned["ExpectedBucketOwner"], **self._owned} if self._owned else {}
        self._s3.copy_object(Bucket=self._bucket, Key=self._folder + path, CopySource=source, **owned, **more)

    def _object(self, path: str, version: str) -> dict[str, t.Any]:
        return {"Bucket": self._bucket, "Key": self._folder + path, "VersionId": version, **self._owned}


def choose(publications: Iterable[Publication], version: str) -> Publication:
    """
    :param version: its first digits, at least four.
    :raises InvalidInput: naming all that there are
    """
    publications = list(publications)
    told = "; ".join(map(str, publications))
    fitting = [each for each in publications if len(version) >= 4 and each.version.startswith(version.lower())]
    if len(fitting) == 1:
        return fitting[0]
    problem = f"The version {version} is not one of the model" if version else "The version to put back is missing"
    if len(fitting) > 1:
        problem = f"Several versions begin with {version}"
    raise InvalidInput(f"{problem}. Nothing was changed", remedy=f"There are: {told}")
