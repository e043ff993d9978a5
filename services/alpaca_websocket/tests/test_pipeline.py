# SPDX-License-Identifier: GPL-3.0-or-later
"""One feed's parts: what a mistake of ours in one costs the others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alpaca_websocket import pipeline, settings
from alpaca_websocket.observe.health import judge
from alpaca_websocket.observe.state import Phase
from alpaca_websocket.pipeline import Pipeline


class Mistaken:
    """A feed that fails once, and then runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = asyncio.Event()
        self.reloaded = False

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise ZeroDivisionError("a mistake")
        self.running.set()
        await asyncio.Event().wait()

    def reload(self) -> None:
        self.reloaded = True


def test_a_feed_that_waits_long_for_its_store_fails_its_health(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'[store]\ndirectory = "{tmp_path}"\n[upstream]\ncredentials_file = "keys.json"\n')
    read = settings.load(path)
    made = Pipeline(read, read.upstreams[0])
    made.state.enter(Phase.STANDBY, "the store belongs to another running server")
    assert judge(made.state)[0] == "standby"
    made.late()
    status, reasons = judge(made.state)
    assert status == "failing"
    assert "another running server" in reasons[0]


def test_a_feed_that_fails_is_started_again_and_health_tells_until_a_person_has_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(f'[store]\ndirectory = "{tmp_path}"\n[upstream]\ncredentials_file = "keys.json"\n')
    monkeypatch.setattr(pipeline, "_AFTER_A_MISTAKE", 0.0)

    async def run() -> None:
        read = settings.load(path)
        made, feed = Pipeline(read, read.upstreams[0]), Mistaken()
        made._feed = feed  # type: ignore[assignment]
        running = asyncio.create_task(made.run())
        async with asyncio.timeout(60):
            await feed.running.wait()
        status, reasons = judge(made.state)
        assert status == "failing"
        assert any("ZeroDivisionError: a mistake" in reason for reason in reasons)
        made.reload()
        assert feed.reloaded
        assert "feed" not in made.state.alerts
        running.cancel()

    asyncio.run(run())
