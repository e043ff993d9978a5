# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is wanted to what is subscribed, against an upstream with a limit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_websocket.upstream.subscriptions import Ask, Channels, Lingering, Subscriptions, uncovered


class Upstream:
    """Answers as Alpaca does: a request that would exceed the limit changes nothing."""

    def __init__(self, limit: int = 10**9, *, hides: bool = False) -> None:
        self.limit = limit
        self.hides = hides  # lists `*` alone where it is subscribed
        self.has: Channels = {}
        self.asked = Counter[str]()

    def answer(self, ask: Ask) -> dict[str, Any] | None:
        """The subscription, or None for 405."""
        self.asked[ask.action] += 1
        message = ask.message()
        for name, symbols in list(message.items())[1:]:
            if ask.action == "unsubscribe":
                self.has.get(name, set()).difference_update(symbols)
            elif len(self.has.get(name, set()) | set(symbols)) > self.limit:
                return None
        if ask.action == "subscribe":
            for name, symbols in ask.channels.items():
                self.has.setdefault(name, set()).update(symbols)
        listed = {name: {"*"} if self.hides and "*" in symbols else symbols for name, symbols in self.has.items()}
        return {"T": "subscription", **{name: sorted(symbols) for name, symbols in listed.items()}}


def settle(subscriptions: Subscriptions, upstream: Upstream) -> list[Channels]:
    """Until nothing is left to ask. Returns what was uncovered on the way."""
    lost = []
    for _ in range(1_000):
        before = subscriptions.confirmed
        ask = subscriptions.next()
        if ask is None:
            break
        assert subscriptions.next() is None, "one at a time"
        reply = upstream.answer(ask)
        if reply is None:
            subscriptions.limited()
        else:
            subscriptions.answered(reply)
            if found := uncovered(before, subscriptions.confirmed, subscriptions.wanted):
                lost.append(found)
    assert subscriptions.settled
    return lost


def test_one_request_subscribes_what_is_wanted_and_one_more_what_is_not() -> None:
    subscriptions, upstream = Subscriptions(), Upstream()
    subscriptions.want({"trades": ["B", "A"], "bars": ["*"], "quotes": []})
    settle(subscriptions, upstream)
    assert upstream.has == subscriptions.confirmed == {"trades": {"A", "B"}, "bars": {"*"}}
    subscriptions.want({"trades": ["C"], "bars": ["*"]})
    settle(subscriptions, upstream)
    assert subscriptions.confirmed == {"trades": {"C"}, "bars": {"*"}}
    assert upstream.asked == {"subscribe": 2, "unsubscribe": 1}
    settle(subscriptions, upstream)
    assert upstream.asked.total() == 3


def test_all_of_them_needs_none_in_particular() -> None:
    subscriptions, upstream = Subscriptions(), Upstream()
    subscriptions.want({"trades": ["A", "*", "B"]})
    settle(subscriptions, upstream)
    assert upstream.has == {"trades": {"*"}}


def test_very_many_go_in_several_requests() -> None:
    subscriptions, upstream = Subscriptions(), Upstream()
    wanted = {"trades": {f"T{n}" for n in range(2500)}, "bars": {f"B{n}" for n in range(10)}}
    subscriptions.want(wanted)
    settle(subscriptions, upstream)
    assert upstream.has == wanted
    assert upstream.asked["subscribe"] == 4


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_the_limit_is_filled_to_the_last_place(limit: int, trades: int, bars: int) -> None:
    subscriptions, upstream = Subscriptions(), Upstream(limit)
    wanted = {"trades": {f"T{n}" for n in range(trades)}, "bars": {f"B{n}" for n in range(bars)}}
    subscriptions.want(wanted)
    settle(subscriptions, upstream)
    for name, symbols in wanted.items():
        confirmed, refused = subscriptions.confirmed.get(name, set()), subscriptions.refused.get(name, set())
        assert len(confirmed) == min(limit, len(symbols))
        assert confirmed | refused == symbols
        assert not confirmed & refused
    assert upstream.asked.total() < 40


def test_what_was_refused_is_asked_for_again_when_there_is_room() -> None:
    subscriptions, upstream = Subscriptions(), Upstream(2)
    subscriptions.want({"trades": ["A", "B", "C"]})
    settle(subscriptions, upstream)
    assert subscriptions.refused == {"trades": {"C"}}
    before = upstream.asked.total()
    settle(subscriptions, upstream)
    assert upstream.asked.total() == before, "it does not ask in vain"
    subscriptions.want({"trades": ["B", "C"]})
    settle(subscriptions, upstream)
    assert (subscriptions.confirmed, subscriptions.refused) == ({"trades": {"B", "C"}}, {})


def test_a_rejected_request_is_given_up() -> None:
    subscriptions = Subscriptions()
    subscriptions.want({"trades": ["A"]})
    ask = subscriptions.next()
    assert subscriptions.rejected() == ask
    assert subscriptions.refused == {"trades": {"A"}}
    assert subscriptions.next() is None


def test_a_new_connection_begins_with_nothing() -> None:
    subscriptions, upstream = Subscriptions(), Upstream()
    subscriptions.want({"trades": ["A"]})
    settle(subscriptions, upstream)
    subscriptions.begin()
    ask = subscriptions.next()
    assert ask is not None
    assert ask.message() == {"action": "subscribe", "trades": ["A"]}


def asked(subscriptions: Subscriptions, upstream: Upstream) -> list[str]:
    """The requests that lead to what is wanted."""
    found = []
    while (ask := subscriptions.next()) is not None:
        found.append(f"{ask.action} {' '.join(symbol for symbols in ask.channels.values() for symbol in symbols)}")
        reply = upstream.answer(ask)
        if reply is None:
            subscriptions.limited()
        else:
            subscriptions.answered(reply)
    return found


@pytest.mark.parametrize("channel", ["trades", "quotes", "bars", "statuses"])
def test_what_is_new_is_subscribed_before_the_old_is_given_back(channel: str) -> None:
    subscriptions, upstream = Subscriptions(), Upstream()
    subscriptions.want({channel: ["*"]})
    settle(subscriptions, upstream)
    subscriptions.want({channel: ["A"]})
    assert asked(subscriptions, upstream) == ["subscribe A", "unsubscribe *"]


def test_one_that_was_subscribed_by_name_stays_so_beside_all() -> None:
    subscriptions, upstream = Subscriptions(), Upstream()
    for wanted, expected in ((["A"], ["subscribe A"]), (["A", "*"], ["subscribe *"]), (["A"], ["unsubscribe *"])):
        subscriptions.want({"trades": wanted})
        assert asked(subscriptions, upstream) == expected
    assert upstream.has == {"trades": {"A"}}


def test_where_the_limit_forbids_both_the_loss_is_named() -> None:
    subscriptions, upstream = Subscriptions(), Upstream(1)
    subscriptions.want({"trades": ["*"], "bars": ["B"]})
    assert settle(subscriptions, upstream) == []
    subscriptions.want({"trades": ["A"], "bars": ["B"]})
    assert settle(subscriptions, upstream) == [{"trades": {"A"}}]
    assert upstream.has == {"trades": {"A"}, "bars": {"B"}}
    subscriptions.want({"trades": ["C"], "bars": ["B"]})
    assert settle(subscriptions, upstream) == [], "nobody had the new one before"
    assert upstream.has == {"trades": {"C"}, "bars": {"B"}}


def test_all_that_are_refused_cost_nobody_the_one_that_is_subscribed() -> None:
    subscriptions, upstream = Subscriptions(), Upstream(1)
    subscriptions.want({"trades": ["A"]})
    settle(subscriptions, upstream)
    subscriptions.want({"trades": ["A", "*"]})
    assert settle(subscriptions, upstream) == []
    assert (upstream.has, subscriptions.refused) == ({"trades": {"A"}}, {"trades": {"*"}})
    subscriptions.want({"trades": ["A"]})
    assert subscriptions.refused == {}


def test_an_upstream_that_lists_all_alone_is_not_asked_for_ever() -> None:
    subscriptions, upstream = Subscriptions(), Upstream(hides=True)
    subscriptions.want({"trades": ["*"]})
    settle(subscriptions, upstream)
    subscriptions.want({"trades": ["A"]})
    assert asked(subscriptions, upstream) == ["subscribe A", "unsubscribe *"]
    assert subscriptions.confirmed == {"trades": {"A"}}


def test_what_the_upstream_does_not_take_back_is_not_given_back_for_ever() -> None:
    subscriptions = Subscriptions()
    subscriptions.want({"trades": ["A", "B"]})
    subscriptions.next()
    subscriptions.answered({"trades": ["A", "B"]})
    subscriptions.want({"trades": ["A"]})
    assert subscriptions.next() == Ask("unsubscribe", {"trades": ("B",)})
    subscriptions.answered({"trades": ["A", "B"]})
    assert subscriptions.next() is None


def test_what_disappears_unasked_is_named() -> None:
    assert uncovered({"trades": {"A", "B"}}, {"trades": {"B"}}, {"trades": {"A", "B"}}) == {"trades": {"A"}}
    assert uncovered({"trades": {"*"}}, {}, {"trades": {"*", "A"}}) == {"trades": {"*", "A"}}
    assert uncovered({"trades": {"A"}}, {"trades": {"*"}}, {"trades": {"A"}}) == {}


@pytest.mark.parametrize("reply", [{}, {"trades": None}, {"trades": []}, {"corrections": ["A"]}])
def test_an_odd_reply_confirms_nothing(reply: dict[str, Any]) -> None:
    subscriptions = Subscriptions()
    subscriptions.want({"trades": ["A"]})
    subscriptions.next()
    subscriptions.answered(reply)
    assert subscriptions.confirmed == {}


def test_what_nobody_wants_any_more_lingers() -> None:
    lingering = Lingering(30)
    both, one = {"trades": {"A", "B"}}, {"trades": {"A"}}
    assert lingering.add(one, both, 100) == both
    assert not lingering.over(129)
    assert lingering.add(one, both, 129) == both
    assert lingering.over(130)
    assert lingering.add(one, both, 130) == one
    assert not lingering.over(999)


def test_what_is_wanted_again_begins_anew() -> None:
    lingering = Lingering(30)
    both, one = {"trades": {"A"}, "bars": {"*"}}, {"trades": {"A"}}
    lingering.add(one, both, 100)
    lingering.add(both, both, 120)
    assert lingering.add(one, both, 125) == both
    assert not lingering.over(140)
    assert lingering.over(155)


def test_nothing_lingers_where_that_is_asked() -> None:
    assert Lingering(0).add({}, {"trades": {"A"}}, 100) == {}
