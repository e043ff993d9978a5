# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever others subscribe and drop, and whatever is lost and fetched: a client gets each trade once."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import Server, StandIn, ended, wait_for

from .test_faults import Client

RATE = 100  # steps of the market in a second


def _each_once(client: Client, upstream: StandIn) -> None:
    made, got = upstream.state()["trades"], sorted(client.ids())
    assert got == [one for one in made if got[0] <= one <= got[-1]], "a trade is missing, or came twice"


def _more(client: Client, count: int = 10) -> None:
    before = len(client.ids())
    wait_for(lambda: len(client.ids()) >= before + count, "more trades")


@pytest.mark.parametrize("round_trip", [0.0, 0.1])
def test_who_holds_a_symbol_misses_nothing_when_another_takes_and_drops_all(tmp_path: Path, round_trip: float) -> None:
    upstream = StandIn("--symbols", "AAPL")
    with ended(upstream):
        server = Server(tmp_path, upstream)
        with ended(server):
            upstream.control("latency", seconds=round_trip)
            first = Client(server, trades=["AAPL"])
            wait_for(lambda: upstream.subscribed("trades") == ["AAPL"], "the subscription")
            upstream.control("rate", steps=RATE)
            _more(first)
            for _ in range(3):
                other = Client(server, 1, trades=["*"])
                wait_for(lambda: "*" in upstream.subscribed("trades"), "the subscription to all")
                _more(first)
                other.close()
                wait_for(lambda: upstream.subscribed("trades") == ["AAPL"], "it to be dropped")
                _more(first)
            assert not any(item.get("backfilled") for item in first.of("t"))
            _each_once(first, upstream)
            assert server.status()["gap_count"] == 0
            first.close()


def test_one_that_came_while_all_were_subscribed_misses_nothing_when_they_are_dropped(tmp_path: Path) -> None:
    upstream = StandIn("--symbols", "AAPL")
    with ended(upstream):
        server = Server(tmp_path, upstream)
        with ended(server):
            upstream.control("latency", seconds=0.1)
            other = Client(server, 1, trades=["*"])
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription to all")
            first = Client(server, trades=["AAPL"])
            upstream.control("rate", steps=RATE)
            _more(first)
            other.close()
            wait_for(lambda: upstream.subscribed("trades") == ["AAPL"], "it to be dropped")
            _more(first)
            _each_once(first, upstream)
            assert server.status()["gap_count"] == 0
            first.close()


def test_where_the_symbol_limit_forbids_both_at_once_a_gap_is_recorded_and_filled(tmp_path: Path) -> None:
    upstream = StandIn("--symbols", "AAPL", "--symbol-limit", "1")
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"backfill": {"settle_seconds": 0.3}})
        with ended(server):
            upstream.control("latency", seconds=0.1)
            other = Client(server, 1, trades=["*"])
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription to all")
            first = Client(server, trades=["AAPL"])
            upstream.control("rate", steps=RATE)
            _more(first)
            other.close()
            wait_for(lambda: upstream.subscribed("trades") == ["AAPL"], "it to be dropped")
            _more(first)
            gap = wait_for(
                lambda: (gaps := server.status()["gaps"]) and gaps[0]["settled"] and gaps[0], "the gap to be settled"
            )
            assert gap["filled"]
            assert gap["channels"]["trades"]["symbols"] == 1
            assert "AAPL" in gap["reason"]
            assert gap["trades"] > 0
            assert server.health()["gaps"]["count"] == 1
            upstream.control("rate", steps=0)
            last = upstream.state()["trades"][-1]
            wait_for(lambda: last in first.ids(), "the last trade")
            _each_once(first, upstream)
            assert len([item for item in first.of("t") if item.get("backfilled")]) == gap["trades"]
            first.close()


def test_trades_that_fell_silent_before_the_cut_are_fetched_from_their_own_last_one(tmp_path: Path) -> None:
    """Quotes flow on; then the connection goes."""
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"subscribe": {"trades": ["*"], "quotes": ["*"]}})
        with ended(server):
            client = Client(server, trades=["*"])
            wait_for(lambda: upstream.subscribed("quotes") == ["*"], "the subscription")
            upstream.control("step", times=4)
            wait_for(lambda: len(client.ids()) == 20, "the first trades")
            upstream.control("step", times=20, publish=False)
            quote = {"T": "q", "S": "AAPL", "bp": 1, "ap": 2, "t": "2026-11-23T14:30:00Z"}
            before = server.health()["channels"]["quotes"]["received"]
            for _ in range(5):
                upstream.control("send", messages=[quote] * 100)
            wait_for(lambda: server.health()["channels"]["quotes"]["received"] >= before + 500, "the quotes")
            upstream.control("abort")
            upstream.control("step", times=6, publish=False)
            gap = wait_for(
                lambda: (gaps := server.status()["gaps"]) and gaps[0]["settled"] and gaps[0], "the gap to be settled"
            )
            made = upstream.state()["trades"]
            assert len(made) == 150
            wait_for(lambda: len(client.ids()) >= 150, "all trades")
            assert sorted(client.ids()) == sorted(made)
            assert gap["channels"]["trades"] | {"began": 0} == {
                "began": 0, "symbols": 5, "fetched": 130, "result": "filled",
            }  # fmt: skip
            assert not gap["filled"], "nobody asked for the quotes"
            assert "quotes" in " ".join(server.health()["reasons"])
            client.close()


def test_what_had_come_before_a_flood_of_quotes_does_not_come_twice(tmp_path: Path) -> None:
    """Twenty trades, 60,000 quotes, and a cut within a second."""
    upstream = StandIn("--symbols", "AAPL")
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"subscribe": {"trades": ["AAPL"], "quotes": ["AAPL"]}})
        with ended(server):
            client = Client(server, trades=["AAPL"])
            wait_for(lambda: upstream.subscribed("quotes") == ["AAPL"], "the subscription")
            upstream.control("step", times=20)
            quote = {"T": "q", "S": "AAPL", "bp": 1, "ap": 2, "t": "2026-11-23T14:30:00Z"}
            for _ in range(12):
                upstream.control("send", messages=[quote] * 5000)
            wait_for(lambda: server.health()["channels"]["quotes"]["received"] == 60_040, "the quotes")
            upstream.control("abort")
            upstream.control("step", times=5, publish=False)
            wait_for(lambda: len(client.ids()) >= 25, "the trades of the gap")
            wait_for(lambda: server.status()["gaps"][0]["settled"], "the gap to be settled")
            assert sorted(client.ids()) == sorted(upstream.state()["trades"])
            assert server.status()["gaps"][0]["trades"] == 5
            client.close()


def test_a_halt_may_lie_in_a_gap_so_whoever_listens_is_told_that_it_is_unknown(tmp_path: Path) -> None:
    upstream = StandIn("--symbols", "AAPL,IBM")
    with ended(upstream):
        server = Server(tmp_path, upstream)
        with ended(server):
            client = Client(server, statuses=["AAPL"], trades=["AAPL"])
            wait_for(lambda: upstream.subscribed("statuses") == ["AAPL"], "the subscription")
            resumed = {"T": "s", "S": "AAPL", "sc": "T", "sm": "Trading", "rc": "", "rm": "", "z": "C",
                       "t": "2026-11-23T14:30:00Z"}  # fmt: skip
            upstream.control("send", messages=[resumed])
            wait_for(lambda: client.of("s"), "the status")
            upstream.control("abort")
            gap = wait_for(
                lambda: (gaps := server.status()["gaps"]) and gaps[0]["settled"] and gaps[0], "the gap to be settled"
            )
            assert not gap["filled"]
            assert gap["channels"]["statuses"]["result"].startswith("not fetched")
            wait_for(lambda: len(client.of("s")) == 2, "the client to be told")
            assert client.of("s")[1] | {"t": ""} == {
                **resumed, "sc": "", "sm": "unknown after a gap", "z": "", "t": "", "unknown": True,
            }  # fmt: skip
            assert server.health()["unknown"] == {"statuses": {"count": 1, "symbols": ["AAPL"]}}
            late = Client(server, 1, statuses=["AAPL"], snapshot=True)
            wait_for(lambda: late.of("s"), "the snapshot")
            assert late.of("s")[0]["sm"] == "unknown after a gap"
            late.close()
            wait_for(lambda: upstream.subscribed("statuses") == ["AAPL"], "the subscription to be back")
            upstream.control("send", messages=[{**resumed, "sc": "H"}])
            wait_for(lambda: len(client.of("s")) == 3, "the next status")
            assert server.health()["unknown"] == {}
            client.close()
