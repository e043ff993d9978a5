# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from which error, and how long is waited."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_websocket.protocol import ERRORS
from alpaca_websocket.upstream.policy import Act, Backoff, on_error, on_handshake


@pytest.mark.parametrize(
    ("code", "act"),
    [
        (400, Act.CARRY_ON),
        (401, Act.RECONNECT),
        (402, Act.HALT),
        (403, Act.CARRY_ON),
        (404, Act.RECONNECT),
        (405, Act.CARRY_ON),
        (406, Act.WAIT),
        (407, Act.CARRY_ON),
        (409, Act.HALT),
        (410, Act.CARRY_ON),
        (413, Act.CARRY_ON),
        (500, Act.BACK_OFF),
        (599, Act.BACK_OFF),
    ],
)
def test_every_error_has_a_considered_consequence(code: int, act: Act) -> None:
    decision = on_error(code, ERRORS.get(code, ""))
    assert decision.act is act
    assert str(code) in decision.reason


@pytest.mark.parametrize(
    ("status", "act"), [(401, Act.HALT), (403, Act.HALT), (429, Act.BACK_OFF), (502, Act.BACK_OFF)]
)
def test_a_refused_handshake_backs_off_unless_the_keys_are_wrong(status: int, act: Act) -> None:
    assert on_handshake(status, "").act is act


@given(st.lists(st.floats(0, 1), min_size=40, max_size=40), st.sampled_from([Act.RECONNECT, Act.BACK_OFF]))
def test_pauses_grow_to_the_longest_and_are_never_in_step(chances: list[float], act: Act) -> None:
    chance = iter(chances)
    backoff = Backoff(1, 60, lambda: next(chance))
    pauses = [backoff.after(act) for _ in range(40)]
    assert all(pause <= 60 for pause in pauses)
    assert pauses[0] <= (1 if act is Act.RECONNECT else 2)
    for number, pause in enumerate(pauses[1:], 2):
        whole = min(60, 2.0**number)
        assert whole / 2 <= pause <= whole


def test_a_stable_connection_starts_anew() -> None:
    backoff = Backoff(1, 60, lambda: 1.0)
    assert [backoff.after(Act.RECONNECT) for _ in range(4)] == [1, 4, 8, 16]
    backoff.reset()
    assert backoff.after(Act.RECONNECT) == 1
