# SPDX-License-Identifier: GPL-3.0-or-later
"""One owner of the connection at a time: an object in the data bucket, written on condition only.

An owner renews it; who waits watches it. Whoever sees it unchanged for the lease's duration, by its own monotonic
clock, takes it over with a write that succeeds only if it is still that same object. So clocks need not agree, and of
two who try, one wins.

With each renewal the owner writes up to where its feeds are safe on its disk: whoever takes over fetches what followed.

Where S3 cannot be reached, an owner keeps going and says so, instead of losing data over it. Should another, who does
reach it, take over meanwhile, Alpaca itself refuses the second connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from ..settings import Lease as LeaseSettings
from .position import Position

_log = logging.getLogger(__name__)
_CHANGED = ("412", "PreconditionFailed", "409", "ConditionalRequestConflict")
_MISSING = ("404", "NoSuchKey")


class LeaseUnreachable(Exception):
    """The bucket cannot be reached, or refuses."""


class Holder(msgspec.Struct, frozen=True):
    """Who owns the connection, as the object says."""

    owner: str
    host: str
    process: int
    renewed: float
    released: bool = False
    positions: dict[str, Position] = {}
    """Feed → up to where it is safe."""


class Lease:
    def __init__(
        self,
        settings: LeaseSettings,
        client: Any,
        monotonic: Callable[[], float] = time.monotonic,
        positions: Callable[[], dict[str, Position]] = dict,
    ) -> None:
        """
        :param client: boto3's S3
        :param positions: up to where this server's feeds are safe; those that it does not know stay as they were
        """
        self._settings, self._s3, self._monotonic, self._positions = settings, client, monotonic, positions
        self.inherited: dict[str, Position] = {}
        self.owner = uuid.uuid4().hex
        self._etag = ""  # of the object as we last saw or wrote it
        self._unchanged_since = 0.0
        self.holder: Holder | None = None

    def try_acquire(self) -> bool:
        """One attempt, in the calling thread. Raises LeaseUnreachable."""
        try:
            found = self._s3.get_object(Bucket=self._settings.bucket, Key=self._settings.key)
            etag, body = str(found["ETag"]), found["Body"].read()
        except Exception as error:
            if _code(error) not in _MISSING:
                raise LeaseUnreachable(f"the lease cannot be read: {error}") from error
            return self._write(None)
        try:
            self.holder = msgspec.json.decode(body, type=Holder)
        except msgspec.MsgspecError:
            self.holder = None
        now = self._monotonic()
        if etag != self._etag:
            self._etag, self._unchanged_since = etag, now
        free = self.holder is not None and self.holder.released
        if not free and now - self._unchanged_since < self._settings.seconds:
            return False
        self.inherited = self.holder.positions if self.holder else {}
        return self._write(self._etag)

    def renew(self) -> bool:
        """False: somebody else owns it now. Raises LeaseUnreachable."""
        return self._write(self._etag)

    def release(self) -> None:
        """Lets the next one in at once."""
        try:
            self._write(self._etag, released=True)
        except LeaseUnreachable as error:
            _log.warning("the lease could not be released, and will run out", extra={"problem": str(error)})

    def _write(self, replaces: str | None, released: bool = False) -> bool:
        condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        positions = {**self.inherited, **self._positions()}
        holder = Holder(self.owner, socket.gethostname(), os.getpid(), time.time(), released, positions)
        try:
            written = self._s3.put_object(
                Bucket=self._settings.bucket, Key=self._settings.key, Body=msgspec.json.encode(holder), **condition
            )
        except Exception as error:
            if _code(error) in (*_CHANGED, *_MISSING):
                return self._is_ours()
            raise LeaseUnreachable(f"the lease cannot be written: {error}") from error
        self._etag = str(written["ETag"])
        self._unchanged_since = self._monotonic()
        return True

    def _is_ours(self) -> bool:
        """Whether a write that was refused had been ours: its answer got lost, and the client repeated it."""
        try:
            found = self._s3.get_object(Bucket=self._settings.bucket, Key=self._settings.key)
            holder = msgspec.json.decode(found["Body"].read(), type=Holder)
        except Exception:
            return False
        if holder.owner != self.owner or holder.released:
            return False
        self._etag = str(found["ETag"])
        return True


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def client(settings: LeaseSettings) -> Any:
    """An S3 client that gives up soon: the next round tries again."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"})
    return boto3.client(
        "s3", region_name=settings.region or None, endpoint_url=settings.endpoint_url or None, config=config
    )


async def acquire(lease: Lease, seconds: float, waiting: Callable[[str], None]) -> None:
    """Returns once the lease is ours; tells `waiting` for whom or for what."""
    while True:
        try:
            if await asyncio.to_thread(lease.try_acquire):
                return
            holder = lease.holder
            waiting(f"process {holder.process} on {holder.host} owns the feed" if holder else "another owns the feed")
        except LeaseUnreachable as error:
            waiting(str(error))
        await asyncio.sleep(seconds / 6)


async def keep(lease: Lease, seconds: float, trouble: Callable[[str], None]) -> None:
    """Renews for as long as the lease is ours; returns when it is somebody else's.

    :param trouble: told why it could not be renewed, and "" when it could again
    """
    while True:
        await asyncio.sleep(seconds / 3)
        try:
            if not await asyncio.to_thread(lease.renew):
                return
            trouble("")
        except LeaseUnreachable as error:
            trouble(str(error))
