# SPDX-License-Identifier: GPL-3.0-or-later
"""When a channel that says nothing is dead, and when it is only quiet."""

from __future__ import annotations

from alpaca_websocket.upstream.calendar import Session
from alpaca_websocket.upstream.silence import Silence

SECOND = 10**9
OPEN = Session(1_000 * SECOND, 20_000 * SECOND)


class Watch:
    """Judges at a moment given in seconds."""

    def __init__(self, **limits: float) -> None:
        self.silence = Silence(limits)
        self.last: dict[str, int] = {}
        self.session: Session | None = OPEN
        self.since = dict.fromkeys(limits, 0.0)

    def heard(self, kind: str, at: float) -> None:
        self.last[kind] = int(at * SECOND)

    def at(self, seconds: float) -> str | None:
        since = {channel: int(moment * SECOND) for channel, moment in self.since.items()}
        verdict = self.silence.judge(int(seconds * SECOND), self.session, since, self.last)
        return verdict.channel if verdict else None


def test_a_silent_channel_is_noticed_and_named() -> None:
    watch = Watch(trades=60, bars=150)
    watch.heard("t", 1100)
    watch.heard("b", 1000)
    assert watch.at(1160) is None
    assert watch.at(1161) == "trades"


def test_one_channel_is_given_longer_while_others_speak() -> None:
    watch = Watch(trades=60, bars=150)
    watch.heard("t", 1100)
    for moment in range(1100, 1400, 60):
        watch.heard("b", moment)
        assert watch.at(moment + 10) is None
    assert watch.at(1400) is None
    assert watch.at(1401) == "trades"


def test_a_channel_that_was_just_subscribed_has_its_whole_limit() -> None:
    watch = Watch(quotes=60, trades=60)
    watch.heard("q", 1500)
    watch.since["trades"] = 1500
    assert watch.at(1501) is None


def test_nothing_is_expected_while_the_exchange_is_closed() -> None:
    watch = Watch(trades=60)
    watch.heard("t", 900)
    watch.session = None
    assert watch.at(999_999) is None


def test_the_night_is_no_silence() -> None:
    """The limit runs from the open, not from the last message of the day before."""
    watch = Watch(trades=60)
    watch.heard("t", 10)
    assert watch.at(1001) is None
    assert watch.at(1061) == "trades"


def test_a_new_connection_has_the_whole_limit() -> None:
    watch = Watch(trades=60)
    watch.heard("t", 1100)
    watch.since["trades"] = 1170
    assert watch.at(1200) is None
    assert watch.at(1231) == "trades"


def test_only_what_is_subscribed_and_has_a_limit_is_judged() -> None:
    watch = Watch(trades=60)
    watch.since = {"lulds": 0}
    assert watch.at(5000) is None


def test_an_honest_pause_teaches_patience_for_this_session_only() -> None:
    watch = Watch(trades=60)
    watch.since["trades"] = 1000
    watch.heard("t", 1100)
    assert watch.at(1101) is None
    watch.heard("t", 1155)  # 55 s of silence, and then it went on
    assert watch.at(1156) is None
    assert watch.at(1155 + 110) is None
    assert watch.at(1155 + 111) == "trades"
    watch.session = Session(30_000 * SECOND, 50_000 * SECOND)
    assert watch.at(30_061) == "trades"


def test_silence_that_outlives_a_reconnection_is_waited_out_longer_each_time() -> None:
    watch = Watch(trades=60)
    moment, limits = 1000.0, []
    for _ in range(7):
        since = {"trades": int(moment * SECOND)}
        while (verdict := watch.silence.judge(int(moment * SECOND), OPEN, since, {})) is None:
            moment += 1
        limits.append(verdict.limit)
        watch.silence.reconnected(verdict)
    assert limits == [60, 120, 240, 480, 960, 960, 960]
