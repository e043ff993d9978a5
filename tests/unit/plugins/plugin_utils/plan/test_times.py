# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A component's time is what passes from its first task to its last, whatever runs beside it."""

from __future__ import annotations

from ansible_collections.algo.trading.plugins.plugin_utils.plan import Times


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_components_that_run_side_by_side_have_their_own_time_in_each_play() -> None:
    clock = Clock()
    times = Times(clock)
    for at, what, play, component in (
        (0, times.start, "first", "network"),
        (2, times.end, "first", "network"),
        (2, times.start, "second", "mlflow_server"),
        (3, times.start, "second", "gpu_instance"),
        (4, times.end, "second", "gpu_instance"),
        (5, times.end, "second", "mlflow_server"),
        # Between the two tasks of a component it is that component which waits.
        (7, times.start, "second", "mlflow_server"),
        (9, times.end, "second", "mlflow_server"),
        (20, times.start, "third", "network"),
        (21, times.end, "third", "network"),
    ):
        clock.now = float(at)
        what(play, component)
    assert list(times.seconds.items()) == [("mlflow_server", 7.0), ("network", 3.0), ("gpu_instance", 1.0)]
    assert list(times.of("second").items()) == [("mlflow_server", 7.0), ("gpu_instance", 1.0)]
    assert times.of("fourth") == {}
    assert times.steps == {"network": 2, "mlflow_server": 2, "gpu_instance": 1}


def test_the_end_of_what_did_not_start_is_no_time() -> None:
    times = Times()
    times.end("first", "network")
    assert times.seconds == {}
