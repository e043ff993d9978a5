# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's own parts still fit the server."""

from __future__ import annotations

import inspect
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
