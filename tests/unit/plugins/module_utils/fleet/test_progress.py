# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress is written when it moves on, not more often than people can read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ansible_collections.algo.trading.plugins.module_utils.fleet.progress import ProgressFile


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> datetime:
        return datetime(2025, 1, 1, tzinfo=UTC)


def test_it_says_so_many_of_so_many_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress"
    progress = ProgressFile(str(path), clock, interval=2.0)
    progress.expect("launched", 10)
    progress.expect("claimed", 10)
    progress.done("launched", 10)
    for _step in range(10):
        clock.sleep(0.5)
        progress.done("claimed")
    assert path.read_text().splitlines() == [
        "10 of 10 launched, 0 of 10 claimed",
        "10 of 10 launched, 4 of 10 claimed",
        "10 of 10 launched, 8 of 10 claimed",
        "10 of 10 launched, 10 of 10 claimed",
    ]
