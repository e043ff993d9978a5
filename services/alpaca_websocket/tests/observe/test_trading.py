# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of halts and LULD bands, before and after a gap."""

from __future__ import annotations

import json

from alpaca_websocket.observe import State
from alpaca_websocket.observe.health import health
from alpaca_websocket.observe.trading import TradingStates
from alpaca_websocket.protocol import Message, Messages, mark_backfilled


def told(kind: str, symbol: str, **fields: str) -> Messages:
    return Messages.of([Message(kind, symbol, json.dumps({"T": kind, "S": symbol, **fields}).encode())])


def test_a_state_is_known_once_it_was_told() -> None:
    states = TradingStates()
    assert states.of("A")["statuses"] == {"known": False, "last": None}
    states.take(told("s", "A", sc="H"))
    assert states.of("A")["statuses"] == {"known": True, "last": {"T": "s", "S": "A", "sc": "H"}}
    assert states.of("A")["lulds"]["known"] is False


def test_a_gap_makes_it_unknown_until_it_is_told_again() -> None:
    states = TradingStates()
    states.take(told("s", "A", sc="H"))
    states.take(told("s", "B", sc="T"))
    states.lose("s", ["*", "C"], 5)
    assert states.unknown("s") == ["A", "B", "C"]
    assert states.of("A")["statuses"]["known"] is False
    assert states.of("A")["statuses"]["last"]["sc"] == "H"
    states.take(told("s", "A", sc="T"))
    assert states.of("A")["statuses"]["known"] is True
    assert states.unknown("s") == ["B", "C"]


def test_each_is_told_once_and_a_server_behind_this_one_understands_it() -> None:
    first, second = TradingStates(), TradingStates()
    for states in (first, second):
        states.take(told("s", "A", sc="H"))
    first.lose("s", ["A"], 5)
    said = first.untold("s", 1_795_444_230 * 10**9)
    assert [json.loads(message.raw) for message in said] == [
        {"T": "s", "S": "A", "sc": "", "sm": "unknown after a gap", "rc": "", "rm": "",
         "t": "2026-11-23T14:30:30Z", "z": "", "unknown": True}
    ]  # fmt: skip
    assert first.untold("s", 0) == []
    replayed = [Message(one.kind, one.symbol, mark_backfilled(one.raw)) for one in said]
    for states, messages in ((first, said), (second, replayed)):
        states.take(Messages.of(messages))
        assert states.of("A")["statuses"]["known"] is False
    assert second.untold("s", 0) == []
    second.take(told("s", "A", sc="T"))
    assert second.of("A")["statuses"]["known"] is True


def test_what_was_found_after_all_is_known_again_but_nothing_older() -> None:
    states = TradingStates()
    states.take(told("l", "A", i="B"))
    states.take(told("l", "B", i="B"))
    states.lose("l", ["A"], 5)
    states.lose("l", ["A", "B"], 9)
    states.find("l", 9)
    assert states.unknown("l") == ["A"]


def test_health_names_what_is_unknown() -> None:
    state = State()
    assert health(state)["unknown"] == {}
    state.trading.lose("s", ["B", "A"], 5)
    assert health(state)["unknown"] == {"statuses": {"count": 2, "symbols": ["A", "B"]}}
