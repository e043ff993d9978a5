# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's own parts still fit the server."""

from __future__ import annotations

import inspect
import math
import re

import pytest

from alpaca_websocket import pipeline
from support import ROOT


def test_the_server_without_a_store_has_all_that_the_server_asks_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import without_store

    asked = set(re.findall(r"\bstore\.(\w+)|\b_store\.(\w+)|\bStore\.(\w+)", inspect.getsource(pipeline)))
    names = {name for found in asked for name in found if name}
    assert {"append", "durable", "recovery", "open"} <= names
    missing = [name for name in sorted(names) if not hasattr(without_store.Nothing(), name)]
    assert missing == []


def test_a_busy_neighbour_has_its_weight_beside_the_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import rig

    unit = (ROOT / "data/share/alpaca-websocket/alpaca-websocket.service").read_text()
    weight = int(re.findall(r"^CPUWeight=(\d+)$", unit, re.MULTILINE)[0])
    # 100 is every other unit's. Linux gives 1.25 times as much for each step of niceness (sched(7)).
    niceness = rig.NEIGHBOURS["hundredth"]
    assert niceness is not None
    assert math.log(weight / 100, 1.25) == pytest.approx(niceness - rig._FIRST, abs=1)
