# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the store, one table of the service's settings file."""

from __future__ import annotations

import msgspec


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where messages are kept, how soon they are durable, and how long they stay.

    Credentials for S3 come from the usual AWS chain (on a host: its instance profile), never from here.
    """

    directory: str
    """Local directory of the store, on a disk with hard links (ext4, xfs). One server owns it at a time."""

    commit_milliseconds: float = 20.0
    """What arrived in this time is made durable together, with one fsync."""

    max_pending_messages: int = 500_000
    """Messages accepted and not yet durable; beyond it the store refuses more instead of filling the memory."""

    segment_bytes: int = 128 * 2**20
    """A journal segment is rolled into Parquet when it has this many bytes …"""

    segment_seconds: float = 900.0
    """… or this age, whichever comes first."""

    min_free_bytes: int = 512 * 2**20
    """Below this much free disk nothing more is accepted, so that what is there can still be rolled and uploaded."""

    bucket: str = ""
    """The environment's data bucket. Empty: nothing is uploaded, and nothing is deleted but by `delete_unsaved`."""

    prefix: str = "market-data"
    """Keys are prefix/kind=…/date=…/first-last.parquet. Servers that share a bucket have a prefix each."""

    region: str = ""
    endpoint_url: str = ""
    """Another S3 than AWS's, for tests and the demo."""

    retry_seconds: float = 1.0
    """First pause after a failed upload; it doubles, with jitter, up to …"""

    retry_max_seconds: float = 60.0

    s3_timeout_seconds: float = 10.0

    retain_days: float = 7.0
    """Uploaded Parquet files stay on the local disk for replay this long …"""

    retain_bytes: int = 20 * 2**30
    """… but not more than this many bytes of them; the oldest go first. What isn't uploaded never goes, unless …"""

    delete_unsaved: bool = False
    """… there is no bucket, and this is true: then files go by the same rules although there is no other copy, and no
    day is put together."""

    compact_after_seconds: float = 3600.0
    """When a day (in UTC) has been over for this long, and nothing was added to it for as long, its small Parquet files
    are put together into one large file for each kind, beside them. 0: never."""

    close_seconds: float = 20.0
    """At a graceful stop, the time allowed for rolling and uploading the rest. The next start goes on with it."""
