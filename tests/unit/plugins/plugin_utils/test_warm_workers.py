"""The main process uses its waits, no longer than they last."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.algo.trading.plugins.module_utils.resources import TYPES
from ansible_collections.algo.trading.plugins.plugin_utils import arguments, warm_workers


def test_a_wait_goes_on_where_the_last_one_stopped_and_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def steps() -> Iterator[None]:
        for number in range(5):
            done.append(number)
            yield

    monkeypatch.setattr(warm_workers, "_MAIN", os.getpid())  # ansible-test runs a test in a process of its own
    ended = iter([False, True, True, False, False, False])
    monkeypatch.setattr(warm_workers, "_steps", steps())
    monkeypatch.setattr(warm_workers, "_worker_ended", lambda: next(ended))
    for so_far in ([0, 1], [0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]):
        warm_workers._use_the_wait()
        assert done == so_far


def test_what_the_tasks_need_is_loaded_in_the_main_process() -> None:
    arguments.argument_spec.cache_clear()
    for _step in warm_workers._preparations(DataLoader()):
        pass
    for module in warm_workers._MODULES:
        assert f"ansible_collections.algo.trading.plugins.modules.{module.rpartition('.')[2]}" in sys.modules
    before = arguments.argument_spec.cache_info()
    for kind in TYPES.values():
        arguments.argument_spec(kind.module)
    assert arguments.argument_spec.cache_info().misses == before.misses
