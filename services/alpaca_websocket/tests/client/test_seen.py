# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

from alpaca_websocket.client.seen import Seen
from alpaca_websocket.protocol import Message, Messages

TRADE = {"T": "t", "S": "AAPL", "i": 7, "x": "V", "p": 1.5, "s": 1, "t": "2026-11-23T14:30:00.5Z"}
QUOTE = {"T": "q", "S": "AAPL", "bp": 1.5, "ap": 1.6, "t": "2026-11-23T14:30:00.5Z"}
BAR = {"T": "b", "S": "AAPL", "c": 1.5, "t": "2026-11-23T14:30:00Z"}


def messages(*items: dict[str, Any]) -> Messages:
    return Messages.of(
        [Message(item["T"], item["S"], json.dumps(item, separators=(",", ":")).encode()) for item in items]
    )


def new(seen: Seen, *items: dict[str, Any], at: int = 0) -> list[dict[str, Any]]:
    return [json.loads(raw) for raw in seen.fresh(messages(*items), at)]


def test_without_a_loss_everything_is_new() -> None:
    assert new(Seen(), TRADE, TRADE, QUOTE) == [TRADE, TRADE, QUOTE]


def test_a_replay_repeats_what_had_come_as_often_as_it_had() -> None:
    seen = Seen()
    new(seen, TRADE, QUOTE, QUOTE)
    seen.lost()
    assert new(seen, TRADE, QUOTE, QUOTE, QUOTE, {**TRADE, "i": 8}) == [QUOTE, {**TRADE, "i": 8}]


def test_the_same_trade_or_bar_in_other_words_is_the_same() -> None:
    seen = Seen()
    new(seen, TRADE, BAR, {**TRADE, "i": 8})
    seen.lost()
    fetched = {"T": "t", "S": "AAPL", "t": "2026-11-23T14:30:00.500000000Z", "x": "V", "i": 7, "backfilled": True}
    assert new(seen, fetched, {**BAR, "c": 1.55, "backfilled": True}) == []
    others = [{**TRADE, "t": "2026-11-23T14:30:00.500000001Z"}, {**TRADE, "x": "N"}]
    assert new(seen, *others) == others


def test_what_is_fetched_long_after_the_replay_is_known_still() -> None:
    seen = Seen()
    new(seen, TRADE, QUOTE)
    seen.lost()
    seen.replayed()
    seen.lost()  # once more, and what came before the first loss is forgotten by then
    seen.forget(10)
    seen.replayed()
    late = {**TRADE, "backfilled": True}, {**QUOTE, "backfilled": True}, {**TRADE, "i": 9, "backfilled": True}
    assert new(seen, *late) == [late[2]]
    assert new(seen, TRADE) == [TRADE]  # not backfilled: the server's own, and none of our business


def test_what_no_replay_will_reach_is_forgotten() -> None:
    seen = Seen()
    new(seen, TRADE, at=1)
    new(seen, QUOTE, at=5)
    seen.forget(5)
    seen.lost()
    assert new(seen, TRADE, QUOTE) == [TRADE]
