# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a store, for a person; works beside a running server and without one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import msgspec

from alpaca_websocket.store import schema
from alpaca_websocket.store.layout import Layout, Rolled
from alpaca_websocket.store.recovery import RecoveryReport
from alpaca_websocket.store.settings import StoreSettings

_REPORTS = 10


def describe(settings: StoreSettings) -> str:
    """The last start, the last starts that had to recover something, and what is there. Raises OSError."""
    layout = Layout(settings.directory)
    last = msgspec.json.decode(layout.report.read_bytes(), type=RecoveryReport)
    lines = ["Last start", str(last)]
    if layout.history.exists():
        reports = layout.history.read_bytes().splitlines()
        lines += ["", f"Recoveries: {len(reports)}"]
        lines += [str(msgspec.json.decode(line, type=RecoveryReport)) for line in reports[-_REPORTS:]]
    sealed = [segment for segment in layout.segments() if segment.last is not None]
    lines += ["", f"Journal: {len(sealed)} sealed segments to roll"]
    lines += [f"  DAMAGED, kept: {segment.path}" for segment in layout.damaged()]
    lines += ["", "Parquet on this host"]
    waiting = {file[:4] for file in layout.rolled(layout.outbox)}
    for kind, files in sorted(_by_kind(layout).items()):
        size = sum(file.path.stat().st_size for file in files)
        to_upload = sum(file[:4] in waiting for file in files)
        dates = f"{min(file.date for file in files)} to {max(file.date for file in files)}"
        lines.append(f"  {kind}: {len(files)} files, {size:,} bytes, {dates}, {to_upload} not in the bucket")
    daily = sum(map(len, layout.compacted().values()))
    lines.append(f"Daily files of days that are over: {daily}, {len(layout.rolled(layout.daily))} of them here")
    return "\n".join(lines)


def athena(
    settings: StoreSettings, database: str, first_date: str, kinds: Collection[str] = tuple(schema.FIELDS)
) -> str:
    """DDL of two Athena tables per kind over the bucket: of the small files, and of the daily ones."""
    location = f"s3://{settings.bucket}/{settings.prefix.strip('/')}".rstrip("/")
    tables = [schema.athena_table(kind, f"{database}`.`{schema.table(kind)}", location, first_date) for kind in kinds]
    return ";\n\n".join(tables) + ";\n"


def _by_kind(layout: Layout) -> dict[str, list[Rolled]]:
    kinds: dict[str, list[Rolled]] = defaultdict(list)
    for file in layout.rolled():
        kinds[file.kind].append(file)
    return kinds
