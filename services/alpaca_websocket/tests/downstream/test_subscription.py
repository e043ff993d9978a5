# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client is subscribed to, what a change of it costs, and who then gets what."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_websocket.downstream.router import Router
from alpaca_websocket.downstream.subscription import Subscription
from alpaca_websocket.observe.state import State
from alpaca_websocket.protocol import CHANNELS, KINDS, Messages, Pair
from alpaca_websocket.websocket import HEADROOM
from serving import message


class Receiver:
    """A client without a connection."""

    msgpack = False
    deflate_bits = 0

    def __init__(self, *, backfilled: bool = False) -> None:
        self.backfilled = backfilled
        self.got: list[bytes] = []

    def deliver(self, frame: bytearray, compressed: bool, count: int) -> None:
        self.got.append(bytes(frame[HEADROOM:]))


SYMBOLS = st.sets(st.sampled_from(["A", "B", "C", "*"]), max_size=4)
REQUESTS = st.lists(
    st.tuples(st.booleans(), st.dictionaries(st.sampled_from(["trades", "quotes", "bars"]), SYMBOLS, max_size=3)),
    max_size=12,
)


@given(REQUESTS)
def test_a_subscription_is_what_was_added_less_what_was_taken_out(
    requests: list[tuple[bool, dict[str, set[str]]]],
) -> None:
    subscription, expected = Subscription(), set[Pair]()
    for adds, asked in requests:
        pairs = {(KINDS[name], symbol) for name, symbols in asked.items() for symbol in symbols}
        if adds:
            assert set(subscription.add(subscription.missing(asked), head=7)) == pairs - expected
            expected |= pairs
        else:
            assert set(subscription.remove(asked)) == pairs & expected
            expected -= pairs
        assert subscription.live_from.keys() == expected
        assert subscription.size == len({symbol for _kind, symbol in expected} - {"*"})
        listed = subscription.listed(["trades", "quotes", "bars", "corrections"])
        assert listed["corrections"] == listed["trades"]
        for name in ("trades", "quotes", "bars"):
            assert listed[name] == sorted(symbol for kind, symbol in expected if CHANNELS[kind] == name)


@given(st.lists(st.tuples(st.integers(0, 2), REQUESTS), max_size=6))
def test_everybody_gets_what_he_is_subscribed_to_however_it_came_about(
    changes: list[tuple[int, list[tuple[bool, dict[str, set[str]]]]]],
) -> None:
    router = Router(State(), lambda: None)
    receivers = [Receiver() for _ in range(3)]
    wanted: list[set[Pair]] = [set(), set(), set()]
    for number, requests in changes:
        for adds, asked in requests:
            pairs = {(KINDS[name], symbol) for name, symbols in asked.items() for symbol in symbols}
            router.subscribe(receivers[number], pairs if adds else (), () if adds else pairs)
            wanted[number] = wanted[number] | pairs if adds else wanted[number] - pairs
    union = {(CHANNELS[kind], symbol) for pairs in wanted for kind, symbol in pairs}
    assert {(name, symbol) for name, symbols in router.wanted().items() for symbol in symbols} == union
    router._scheduled = True  # without an event loop; flush() sends
    for kind in "tqbc":
        for symbol in "ABCD":
            sent = message(kind, symbol, 1)
            router.publish(Messages.of([sent]), 1)
            router.flush()
            for receiver, pairs in zip(receivers, wanted, strict=True):
                asked_as = "t" if kind == "c" else kind
                due = (asked_as, symbol) in pairs or (asked_as, "*") in pairs
                assert receiver.got == ([b"[%b]" % sent.raw] if due else [])
                receiver.got.clear()


def _of(symbols: Collection[str]) -> set[Pair]:
    return {("t", symbol) for symbol in symbols}


def test_no_change_costs_nothing_and_a_small_one_does_not_go_through_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[int] = []
    router = Router(State(), lambda: changes.append(1))
    receiver = Receiver()
    many = _of([f"S{number}" for number in range(5000)])
    router.subscribe(receiver, many)
    (group,) = router._groups
    entered: list[int] = []

    def counted(change: Callable[[Any, Set[Pair]], None]) -> Callable[[Any, Set[Pair]], None]:
        def count(group: Any, pairs: Set[Pair]) -> None:
            entered.append(len(pairs))
            change(group, pairs)

        return count

    monkeypatch.setattr(router, "_enter", counted(router._enter))
    monkeypatch.setattr(router, "_drop", counted(router._drop))

    for _ in range(500):
        router.subscribe(receiver, many)
    assert (entered, len(changes)) == ([], 1)

    router.subscribe(receiver, _of(["NEW"]))
    router.subscribe(receiver, (), _of(["S1", "S2"]))
    assert sum(entered) == 3
    assert list(router._groups) == [group], "its group was made anew"
    assert len(changes) == 3


def test_clients_that_come_to_the_same_subscription_share_a_group() -> None:
    router = Router(State(), lambda: None)
    one, other = Receiver(), Receiver()
    router.subscribe(one, _of(["A", "B"]))
    router.subscribe(other, _of(["A"]))
    router.subscribe(other, _of(["B"]))
    assert len(router._groups) == 1
    router.subscribe(other, _of(["C"]))
    assert len(router._groups) == 2
    router.remove(one)
    router.remove(other)
    assert (len(router._groups), router.wanted(), router._index, router._alike) == (0, {}, {}, {})


def test_fetched_messages_go_to_who_wants_them() -> None:
    router = Router(State(), lambda: None)
    router._scheduled = True
    live, both = Receiver(), Receiver(backfilled=True)
    for receiver in (live, both):
        router.subscribe(receiver, _of(["A"]))
    router.publish(Messages.of([message("t", "A", 1)]), 1, backfilled=True)
    router.publish(Messages.of([message("t", "A", 2)]), 2)
    router.flush()
    assert b'"i": 1' not in live.got[0]
    assert b'"i": 1' in both.got[0]
    assert all(b'"i": 2' in receiver.got[0] for receiver in (live, both))
