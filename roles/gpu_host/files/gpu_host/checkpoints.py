# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folder of checkpoints, and its copy in the bucket. Nothing is ever deleted there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from .errors import REFUSED, HostError

_UNFINISHED = (".tmp", ".part", ".partial")
_TRIES = 3
HURRIED_SECONDS = 1.0


class Stamp(NamedTuple):
    """What tells two states of a file apart."""

    size: int
    modified: int  # ns
    inode: int


class Bucket:
    """A place in S3.

    :param uri: s3://BUCKET or s3://BUCKET/PREFIX
    """

    def __init__(self, uri: str, region: str) -> None:
        scheme, _slashes, rest = uri.partition("://")
        self._bucket, _slash, prefix = rest.partition("/")
        if scheme != "s3" or not self._bucket:
            raise HostError(f"{uri!r} is no place for checkpoints: s3://BUCKET or s3://BUCKET/PREFIX", REFUSED)
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        import boto3
        from botocore.config import Config

        config = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})
        # Debian's boto3 is older than the variable.
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
        self._client: Any = boto3.client("s3", region_name=region or None, endpoint_url=endpoint, config=config)

    def store(self, file: Path, name: str) -> None:
        """
        :raises HostError: if S3 has not taken it
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"{self._prefix}{name}"
        try:
            self._client.upload_file(str(file), self._bucket, key)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise HostError(f"cannot store s3://{self._bucket}/{key}: {error}") from error


def scan(folder: Path) -> dict[str, Stamp]:
    """The checkpoints' files. What is hidden or named as unfinished is left out."""
    found: dict[str, Stamp] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if name.startswith(".") or name.endswith(_UNFINISHED) or not path.is_file():
                continue
            try:
                stat = path.stat()
            except OSError:
                continue  # just replaced or removed
            found[str(path.relative_to(folder))] = Stamp(stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found


class Mirror(threading.Thread):
    """Stores each file once it has not changed between two looks.

    :param seconds: between two looks
    """

    def __init__(
        self, folder: Path, store: Callable[[Path, str], None], say: Callable[[str], None], seconds: float
    ) -> None:
        super().__init__(name="checkpoints", daemon=True)
        self._folder, self._store, self._say, self._seconds = folder, store, say, seconds
        self._stored: dict[str, Stamp] = {}
        self._wake, self._ending = threading.Event(), threading.Event()
        self._count, self._at, self._newest, self._error = 0, "", 0, ""

    def run(self) -> None:
        before: dict[str, Stamp] = {}
        while not self._ending.is_set():
            seen = scan(self._folder)
            self._store_all({name: stamp for name, stamp in seen.items() if before.get(name) == stamp})
            before = seen
            self._wake.wait(self._seconds)
            self._wake.clear()

    def hurry(self) -> None:
        """The host will soon be gone."""
        self._seconds = min(self._seconds, HURRIED_SECONDS)
        self._wake.set()

    def finish(self) -> list[str]:
        """After the job: nothing changes any more. What could not be stored."""
        self._ending.set()
        self._wake.set()
        self.join()
        seen = scan(self._folder)
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(attempt)
            if self._store_all(seen):
                break
        return sorted(name for name, stamp in seen.items() if self._stored.get(name) != stamp)

    def report(self) -> dict[str, Any]:
        """How many files are stored, when the last of them was, and what went wrong since."""
        return {"stored": self._count, "stored_at": self._at, "error": self._error}

    def has_of(self, moment: int) -> bool:
        """Whether something that was written at this time, in ns, or later is stored."""
        return self._newest >= moment

    def _store_all(self, files: dict[str, Stamp]) -> bool:
        """The oldest first, so that a file that names the newest checkpoint comes after it."""
        error = ""
        for name, stamp in sorted(files.items(), key=lambda item: (item[1].modified, item[0])):
            if self._stored.get(name) == stamp:
                continue
            try:
                self._store(self._folder / name, name)
                after = scan_one(self._folder / name)
            except FileNotFoundError:
                continue  # removed meanwhile, as older checkpoints are
            except OSError as failure:
                error = f"{name} cannot be read: {failure}"
                continue
            except HostError as failure:
                # The bucket, not the file: what comes later must not be stored before it.
                error = str(failure)
                break
            # One that was changed while it was read is stored again.
            if after == stamp:
                self._stored[name] = stamp
                self._newest = max(self._newest, stamp.modified)
                self._count += 1
                self._at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                self._say(f"stored {name} ({stamp.size} bytes)")
        if error and error != self._error:
            self._say(f"{error}; it is tried again")
        self._error = error
        return not error


def scan_one(path: Path) -> Stamp:
    stat = path.stat()
    return Stamp(stat.st_size, stat.st_mtime_ns, stat.st_ino)
