# -*- coding: utf-8 -*-

# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Zip archives whose bytes depend on nothing but the names and contents of their files."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ALWAYS_EXCLUDED = ("__pycache__", "*.py[cod]", ".*")

# The earliest time that a zip can hold; any fixed one would do.
_MODIFIED = (1980, 1, 1, 0, 0, 0)
_MODES = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


class PackageError(Exception):
    """A package that can't be built, with what to do about it."""


@dataclass(frozen=True)
class Source:
    """A file, a folder or a text, and where in the archive it goes."""

    archive_path: str = ""
    path: Path | None = None
    content: str | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Package:
    """A built archive."""

    data: bytes
    files: Mapping[str, str] = field(default_factory=dict)  # archive path -> SHA-256 of the content

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def code_sha256(self) -> str:
        """The digest in the form that Lambda reports as CodeSha256."""
        return base64.b64encode(hashlib.sha256(self.data).digest()).decode()


def build(sources: Sequence[Source], compression: str = "stored") -> Package:
    """Read the sources and put them into an archive."""
    contents = collect(sources)
    if not contents:
        raise PackageError("the package would be empty: no source has a file that is not excluded")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=_MODIFIED)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16  # Lambda runs as another user and must be able to read
            entry.compress_type = _MODES[compression]
            archive.writestr(entry, contents[name])
    return Package(buffer.getvalue(), {name: _digest(contents[name]) for name in sorted(contents)})


def collect(sources: Sequence[Source]) -> dict[str, bytes]:
    """Archive path to content, refusing two contents for one path."""
    contents: dict[str, bytes] = {}
    for source in sources:
        for name, content in _entries(source):
            if contents.setdefault(name, content) != content:
                raise PackageError(f"two sources have different contents for {name}: remove one of them")
    return contents


def _entries(source: Source) -> Iterator[tuple[str, bytes]]:
    if source.content is not None:
        yield _archive_name(source.archive_path), source.content.encode()
        return
    yield from ((name, _read(path)) for name, path in _files(source))


def _files(source: Source) -> Iterator[tuple[str, Path]]:
    if source.path is None:
        raise PackageError(f"the source for {source.archive_path or 'the root'} has neither path nor content")
    if source.path.is_file():
        yield _archive_name(source.archive_path or source.path.name), source.path
    elif source.path.is_dir():
        for path in _walk(source.path, (*ALWAYS_EXCLUDED, *source.exclude)):
            inner = path.relative_to(source.path).as_posix()
            yield _archive_name(f"{source.archive_path}/{inner}" if source.archive_path else inner), path
    else:
        raise PackageError(f"{source.path} is neither a file nor a folder")


def _walk(folder: Path, exclude: tuple[str, ...]) -> Iterator[Path]:
    """Files below a folder; a link to a folder is not followed, it could lead anywhere."""
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        folders[:] = [name for name in folders if not _excluded(here / name, folder, exclude)]
        yield from (here / name for name in files if not _excluded(here / name, folder, exclude))


def _excluded(path: Path, root: Path, patterns: tuple[str, ...]) -> bool:
    inner = path.relative_to(root).as_posix()
    return any(fnmatch.fnmatchcase(path.name, p) or fnmatch.fnmatchcase(inner, p) for p in patterns)


def _archive_name(name: str) -> str:
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise PackageError(f"archive path {name!r} must be relative and stay within the package")
    return path.as_posix()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PackageError(f"cannot read {path}: {error.strerror}") from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def manifest_of(path: Path) -> dict[str, str]:
    """Archive path to SHA-256 for an existing package; empty where there is none, or something else."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: _digest(archive.read(name)) for name in sorted(archive.namelist())}
    except (OSError, zipfile.BadZipFile):
        return {}


def write(package: Package, dest: Path) -> bool:
    """Put the package in place at once or not at all; False if it was there already."""
    try:
        if dest.is_file() and dest.read_bytes() == package.data:
            return False
        dest.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=dest.parent, prefix=f".{dest.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(package.data)
                os.fchmod(file.fileno(), 0o644)
            os.replace(name, dest)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise PackageError(f"cannot write {dest}: {error.strerror}") from error
    return True
