# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker tells the server."""

from __future__ import annotations

import msgspec


class WorkerStatus(msgspec.Struct, kw_only=True):
    """Counts since the process began; bytes and files as they are now."""

    rows: dict[str, int] = {}
    missing_messages: int = 0
    """Sequence numbers that no whole record of a rolled segment has: lost on the disk."""
    upload_tries: int = 0
    uploaded_files: int = 0
    uploaded_bytes: int = 0
    uploaded_ns: int = 0
    """When the last upload was confirmed; 0 for never."""
    backlog_files: int = 0
    backlog_bytes: int = 0
    backlog_since_ns: int = 0
    """When the oldest file that waits was rolled; 0 if none waits."""
    journal_bytes: int = 0
    parquet_bytes: int = 0
    pruned_bytes: int = 0
    daily_files: int = 0
    """Large files made of the small ones of days that are over."""
    roll_error: str = ""
    upload_error: str = ""

    def trouble(self) -> str:
        """What is wrong, in words; empty if nothing is."""
        if self.missing_messages:
            return f"{self.missing_messages} stored messages were damaged on the disk; the journal's report has more"
        return self.roll_error or self.upload_error
