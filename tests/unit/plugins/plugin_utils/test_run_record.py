# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What workers note is known to the whole run, and an unknown past is not taken for an unchanged one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible import constants as C
from ansible_collections.algo.trading.plugins.plugin_utils import run_record


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return tmp_path


def test_changes_are_known_in_the_whole_run() -> None:
    run_record.begin()
    children = []
    for module in ("a.b.one", "a.b.two"):
        child = os.fork()
        if child == 0:
            run_record.note(module)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    assert run_record.changed() == frozenset({"a.b.one", "a.b.two"})


def test_a_full_reading_starts_anew() -> None:
    run_record.note("a.b.one")
    run_record.begin()
    assert run_record.changed() == frozenset()


def test_a_run_that_has_read_nothing_knows_of_no_state() -> None:
    assert run_record.changed() is None
