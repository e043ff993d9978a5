# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known not to be stored, and that the next process knows it too."""

from __future__ import annotations

from pathlib import Path

from alpaca_websocket.observe.losses import EVERY_CHANNEL, Losses
from alpaca_websocket.observe.state import FILLED, GapChannel, State
from alpaca_websocket.upstream import position as positions
from alpaca_websocket.upstream.position import Position

SECOND = 10**9


def test_what_ended_before_is_no_loss_since_then() -> None:
    losses = Losses()
    losses.add("quotes", 10 * SECOND, 20 * SECOND, "not fetched")
    losses.add(EVERY_CHANNEL, 30 * SECOND, 40 * SECOND, "not stored")
    assert losses.since(5 * SECOND, {"quotes", "trades"}) == {
        "quotes": "not fetched; not stored",
        "trades": "not stored",
    }
    assert losses.since(25 * SECOND, {"quotes"}) == {"quotes": "not stored"}
    assert losses.since(50 * SECOND, {"quotes"}) == {}


def test_what_came_before_the_oldest_that_is_kept_is_missing() -> None:
    losses = Losses()
    losses.forget_before(20 * SECOND)
    assert "not kept: what came before 1970-01-01T00:00:20" in losses.since(10 * SECOND, {"bars"})["bars"]
    assert losses.since(0, {"bars"}) == losses.since(20 * SECOND, {"bars"}) == {}


def test_many_losses_end_what_is_known_instead_of_being_forgotten() -> None:
    losses = Losses()
    for number in range(1000):
        losses.add("trades", number * 1000 * SECOND, (number * 1000 + 1) * SECOND, "not stored")
    assert len(losses.items) <= 200
    assert "trades" in losses.since(SECOND, {"trades"})


def test_losses_that_follow_each_other_are_one() -> None:
    losses = Losses()
    for number in range(1000):
        for channel in ("trades", "quotes"):
            losses.add(channel, number * SECOND, number * SECOND, "not stored")
    assert [(loss.channel, loss.began_ns, loss.ended_ns) for loss in losses.items] == [
        ("trades", 0, 999 * SECOND),
        ("quotes", 0, 999 * SECOND),
    ]


def test_the_next_process_knows_them(tmp_path: Path) -> None:
    before, after = Losses(), Losses()
    before.known_ns = SECOND
    before.add("quotes", 10 * SECOND, 20 * SECOND, "not fetched")
    positions.write(str(tmp_path), Position(at_ns=1, last={}, losses=before.items, known_ns=before.known_ns))
    found = positions.read(str(tmp_path))
    assert found is not None
    after.restore(found.losses, found.known_ns)
    assert after.since(5 * SECOND, {"quotes"}) == {"quotes": "not fetched"}
    assert after.known_ns == SECOND


def test_a_gap_that_is_open_or_being_filled_is_missing() -> None:
    state = State()
    gap = state.open_gap("a test", 10 * SECOND)
    assert state.missing(5 * SECOND, {"trades"}) == {"trades": "not received yet: a test"}
    gap.channels = {name: GapChannel(10 * SECOND, 1) for name in ("trades", "bars")}
    gap.ended_ns = 20 * SECOND
    gap.channels["bars"].result = FILLED
    assert state.missing(5 * SECOND, {"trades", "bars", "quotes"}) == {"trades": "still being filled"}
    assert state.missing(25 * SECOND, {"trades"}) == {}
    gap.settled = True
    assert state.missing(5 * SECOND, {"trades"}) == {}
