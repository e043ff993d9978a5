# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The model's files: fetched into a folder of their version, verified against the manifest, then made current."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from .aws import Entry
from .errors import NotYet, Refused
from .imds import Claim
from .places import link

MANIFEST = "manifest.json"
FORMAT = "algo-modeling/manifest/1"
# From here on, the listing's version rests on the manifest instead of on every file.
LARGE = 1000
_VERSION = re.compile(r"[0-9a-f]{8,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Source(Protocol):
    def objects(self, bucket: str, folder: str) -> list[Entry]: ...

    def chunks(self, bucket: str, key: str) -> Iterator[bytes]: ...


def fetch(source: Source, claim: Claim, bucket: str, models: Path) -> tuple[Path, bool]:
    """The verified folder of the claim's version, and whether it is new. What is there and intact is not fetched again.

    :raises Refused: if it cannot be trusted; what was current stays
    :raises NotYet: if it is being published, or cannot be read now
    """
    if not _VERSION.fullmatch(claim.version):
        raise Refused(f"The tag ModelVersion is {claim.version!r}, which is no version.")
    target = models / claim.version
    if target.is_dir() and not problems(target, claim.model):
        return target, False
    folder = _folder(claim, bucket)
    entries = source.objects(bucket, folder)
    _check_listing(entries, claim)
    models.mkdir(parents=True, exist_ok=True)
    new = models / f".{claim.version}.new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        for entry in entries:
            _download(source, bucket, folder, entry, new)
        if wrong := problems(new, claim.model):
            raise _refusal(claim, entries, wrong)
        shutil.rmtree(target, ignore_errors=True)
        os.sync()
        os.replace(new, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return target, True


def switch(models: Path, version: str) -> bool:
    """Make a version the current one; the one before stays as `previous`, older ones are removed."""
    current, previous = models / "current", models / "previous"
    before = os.readlink(current) if current.is_symlink() else ""
    if before == version:
        return False
    if before and (models / before).is_dir():
        link(previous, before)
    link(current, version)
    kept = {version, before}
    for path in models.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
    return True


def problems(folder: Path, model: str) -> list[str]:
    """What is wrong with a model's folder: every file is named by its manifest, and is what that says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        named = {str(file["path"]): (file["size"], str(file["sha256"])) for file in manifest["files"]}
        told = (manifest["format"], manifest["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{MANIFEST} is missing or cannot be read"]
    wrong = [] if told == (FORMAT, model) else [f"{MANIFEST} is of {told[1]!r} in the format {told[0]!r}"]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    wrong += [f"{path} is not named by {MANIFEST}" for path in sorted(there - named.keys() - {MANIFEST})]
    wrong += [f"{path} is missing" for path in sorted(named.keys() - there)]
    for path in sorted(named.keys() & there):
        size, sha256 = named[path]
        file = folder / path
        if file.is_symlink() or not file.is_file():
            wrong.append(f"{path} is not a file")
        elif file.stat().st_size != size:
            wrong.append(f"{path} has {file.stat().st_size} bytes instead of {size}")
        elif not _SHA256.fullmatch(sha256) or _digest(file) != sha256:
            wrong.append(f"{path} has another SHA-256")
    return wrong


def version_of(entries: Sequence[Entry]) -> str:
    """The version that the lookup algo.trading.s3_models gives to a model with fewer than 1000 files."""
    text = "".join(f"{path}\0{etag}\0{size}\n" for path, etag, size, _modified in sorted(entries))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _folder(claim: Claim, bucket: str) -> str:
    start = f"s3://{bucket}/"
    if not claim.uri.startswith(start):
        raise Refused(f"The model's address {claim.uri} is not in this environment's bucket {bucket}.")
    if not claim.uri.endswith("/"):
        raise Refused(
            f"The model {claim.uri} is a single file without {MANIFEST}, so it cannot be verified. Publish a folder."
        )
    if not claim.uri.endswith(f"/{claim.model}/"):
        raise Refused(f"The address {claim.uri} is not that of the model {claim.model}.")
    return claim.uri[len(start) :]


def _check_listing(entries: Sequence[Entry], claim: Claim) -> None:
    paths = {entry.path for entry in entries}
    if not entries:
        raise Refused(f"The model is gone: there is nothing at {claim.uri}.")
    if MANIFEST not in paths:
        raise NotYet(f"The model at {claim.uri} has no {MANIFEST}: it is being published, or must be published again.")
    if unsafe := sorted(path for path in paths if not _safe(path)):
        raise Refused(f"The model at {claim.uri} has a file with an unsafe name: {unsafe[0]!r}.")
    found = version_of(entries)
    if len(entries) < LARGE and found != claim.version:
        raise NotYet(
            f"The bucket holds version {found} of {claim.model}, the instance is for {claim.version}. "
            "The next run of site.yml or of the fleet's function replaces the instance."
        )


def _refusal(claim: Claim, entries: Sequence[Entry], wrong: Sequence[str]) -> Exception:
    manifest = next(entry.modified for entry in entries if entry.path == MANIFEST)
    detail = "; ".join(wrong[:5])
    if any(entry.modified > manifest for entry in entries):
        return NotYet(
            f"The model at {claim.uri} is being published: files are newer than its {MANIFEST}, and {detail}."
        )
    return Refused(f"The model at {claim.uri} is corrupt: {detail}. Publish it again. The previous model is kept.")


def _safe(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def _download(source: Source, bucket: str, folder: str, entry: Entry, new: Path) -> None:
    path = new / entry.path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with path.open("wb") as file:
        for chunk in source.chunks(bucket, folder + entry.path):
            file.write(chunk)
    path.chmod(0o644)


def _digest(path: Path) -> str:
    found: Any = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return str(found.hexdigest())
