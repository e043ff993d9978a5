# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.plan import Progress, duration


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock):
    # No thread: what is due is asked for by hand.
    tracker = Progress(lambda text: None, after=0, every=60, clock=clock)
    tracker._after = 10
    tracker._thread = object()  # type: ignore[assignment]
    return tracker


def test_a_short_step_is_never_mentioned(progress, clock):
    progress.start("1", "Create the bucket", "mlflow_server")
    clock.now = 9
    assert progress.due() == []
    assert progress.end("1", "mlflow_server") == 9
    clock.now = 100
    assert progress.due() == []


def test_a_long_step_is_mentioned_once_and_then_every_minute(progress, clock):
    progress.start("1", "Create the database", "mlflow_server")
    said = {}
    for clock.now in range(0, 200, 5):
        if due := progress.due():
            said[clock.now] = due
    assert list(said) == [10, 70, 130, 190]
    assert said[70] == ["… mlflow_server: Create the database (1 min 10 s)"]


def test_many_hosts_make_one_line(progress, clock):
    for number in range(300):
        progress.start("1", "Install packages", f"web{number}")
    clock.now = 10
    assert progress.due() == ["… 300 hosts: Install packages (10 s)"]


def test_hosts_that_are_through_are_no_longer_named(progress, clock):
    progress.start("1", "Install packages", "a")
    progress.start("1", "Install packages", "b")
    progress.end("1", "a")
    clock.now = 10
    assert progress.due() == ["… b: Install packages (10 s)"]


def test_tries_are_told(progress, clock):
    progress.start("1", "Wait for the server", "a")
    progress.note("1", "try 3 of 60")
    clock.now = 10
    assert progress.due() == ["… a: Wait for the server (10 s, try 3 of 60)"]


def test_an_end_without_a_start_is_not_an_error(progress):
    assert progress.end("1", "a") is None
    progress.note("1", "x")


def test_it_runs_and_stops_by_itself():
    said = []
    progress = Progress(said.append, after=0.001)
    progress.start("1", "Create the database", "a")
    assert progress._thread is not None
    progress.stop()
    assert not progress._thread.is_alive()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (7380, "2 h 3 min")],
)
def test_durations_are_words(seconds, text):
    assert duration(seconds) == text
