# SPDX-License-Identifier: GPL-3.0-or-later
"""Which local files may go."""

from __future__ import annotations

from pathlib import Path

from alpaca_websocket.store.layout import Rolled
from alpaca_websocket.store.retention import Kept, expired
from store_kit import settings

DAY = 86_400.0
_PLENTY = 10**12


def _kept(*ages: float, size: int = 100) -> list[Kept]:
    """Files of these ages in days, oldest first."""
    return [
        Kept(Rolled(first, first, "trades", "2026-11-20", Path(f"/{first}")), size, age * DAY)
        for first, age in enumerate(ages)
    ]


def test_files_older_than_the_days_go() -> None:
    kept = _kept(9, 8, 6, 1)
    assert expired(kept, settings(Path("/"), retain_days=7.0), _PLENTY) == kept[:2]


def test_the_oldest_of_too_many_bytes_go() -> None:
    kept = _kept(4, 3, 2, 1)
    assert expired(list(reversed(kept)), settings(Path("/"), retain_bytes=250), _PLENTY) == kept[:2]


def test_a_disk_nearly_full_costs_the_oldest() -> None:
    kept = _kept(4, 3, 2, 1)
    assert expired(kept, settings(Path("/"), min_free_bytes=1000), 1100) == kept[:2]


def test_nothing_goes_without_a_reason() -> None:
    assert expired(_kept(4, 3), settings(Path("/")), _PLENTY) == []
