# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from alpaca_websocket.observe import Client, Phase, State, http
from alpaca_websocket.observe.health import PATIENCE_NS, health, judge
from alpaca_websocket.observe.samples import Sampler
from alpaca_websocket.protocol import Message, Messages

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


@dataclass
class StoreStats:
    sequence: int = 12
    backlog_bytes: int = 34
    last_error: str = ""
    rows: dict[str, int] = field(default_factory=lambda: {"trades": 7})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> State:
    made = State(clock=clock)
    made.enter(Phase.STREAMING)
    return made


def test_a_streaming_server_is_well(state: State) -> None:
    assert judge(state) == ("ok", [])


def test_a_lost_connection_is_a_failure_only_after_longer_than_a_reconnect_takes(state: State, clock: Clock) -> None:
    state.enter(Phase.WAITING, "406 connection limit exceeded")
    assert judge(state)[0] == "degraded"
    clock.forward(PATIENCE_NS / SECOND / 2)
    state.enter(Phase.CONNECTING)
    state.enter(Phase.WAITING, "406 connection limit exceeded")
    clock.forward(PATIENCE_NS / SECOND / 2 + 1)

    status, [reason] = judge(state)

    assert status == "failing"
    assert "waiting" in reason
    assert "406" in reason


def test_out_of_session_a_lost_connection_stays_no_failure(state: State, clock: Clock) -> None:
    state.session_open = False
    state.enter(Phase.WAITING)
    clock.forward(PATIENCE_NS)
    assert judge(state)[0] == "degraded"


@pytest.mark.parametrize("phase", [Phase.HALTED, Phase.SILENT])
def test_what_no_attempt_can_mend_fails_at_once(state: State, phase: Phase) -> None:
    state.enter(phase, "402 auth failed")
    assert judge(state) == ("failing", [f"the feed is {phase.value}: 402 auth failed"])


def test_an_alert_fails_health_until_it_is_over(state: State) -> None:
    state.alert("disk", "the disk is full")
    assert judge(state) == ("failing", ["the disk is full"])
    state.clear("disk")
    assert judge(state)[0] == "ok"
    assert [text for _, text in state.events][-2:] == ["alert: the disk is full", "over: disk"]


def test_a_standby_is_no_failure(state: State) -> None:
    state.enter(Phase.STANDBY, "a")
    assert judge(state)[0] == "standby"


def test_symbols_refused_by_the_limit_are_named(state: State) -> None:
    state.upstream_dropped = {"trades": ["IBM"]}
    status, [reason] = judge(state)
    assert status == "degraded"
    assert "trades IBM" in reason


def test_health_tells_the_last_message_by_channel(state: State, clock: Clock) -> None:
    messages = [Message("t", "AAPL", b""), Message("t", "IBM", b""), Message("b", "IBM", b"")]
    state.received(Messages.of(messages), 90, clock.now)
    clock.forward(2)
    state.received(Messages.of([Message("b", "AAPL", b"")]), 30, clock.now)
    clock.forward(1)

    channels = health(state)["channels"]

    assert channels["trades"] == {"last_message": "2023-11-14T22:13:20.000000Z", "age_seconds": 3.0, "received": 2}
    assert (channels["bars"]["age_seconds"], channels["bars"]["received"]) == (1.0, 2)


def test_one_gap_at_a_time_is_open(state: State, clock: Clock) -> None:
    first = state.open_gap("closed", clock.now - 5)
    assert state.open_gap("refused") is first
    first.ended_ns = clock.now
    assert state.open_gap("closed") is not first
    assert state.gap_count == 2


def test_samples_are_rates_of_their_second_and_minutes_average_them(state: State, clock: Clock) -> None:
    sampler = Sampler(state)
    for second in range(60):
        state.received(Messages.of([Message("t", "AAPL", b"")] * second), 10, clock.now)
        state.delivered += 2 * second
        clock.forward(1)
        sampler.tick()

    assert [sample.received.get("t", 0) for sample in sampler.seconds][:3] == [0, 1, 2]
    assert sampler.seconds[-1].delivered == 118
    assert [sample.received["t"] for sample in sampler.minutes] == [29.5]
    assert sampler.symbols(5) == [("AAPL", 29.5)]


def test_a_clock_set_back_gives_no_rate_below_zero(state: State, clock: Clock) -> None:
    sampler = Sampler(state)
    clock.forward(-3600)
    state.received(Messages.of([Message("t", "AAPL", b"")]), 10, clock.now)
    sampler.tick()
    clock.forward(1)
    sampler.tick()
    assert [sample.received.get("t", 0) for sample in sampler.seconds] == [0]


def test_metrics_are_what_prometheus_reads(state: State, clock: Clock) -> None:
    state.received(Messages.of([Message("t", "AAPL", b"")] * 3), 90, clock.now)
    state.relay_lag.record(2_000_000, 3)
    state.reconnects["closed"] += 1
    state.clients[1] = Client(1, "10.0.0.1:5", clock.now, buffered=70, slow=True)
    state.store = StoreStats

    status, text = asyncio.run(_get(state, "/metrics"))

    assert status == 200
    values = {
        (
            sample.name.removeprefix("alpaca_websocket_"),
            *_besides_feed(sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["received_messages_total", "trades"] == 3
    assert values["relay_lag_seconds_count",] == 3
    assert values["relay_lag_seconds_bucket", "0.001"] == 0
    assert values["relay_lag_seconds_bucket", "+Inf"] == 3
    assert values["feed_phase", "streaming"] == 1
    assert values["reconnects_total", "closed"] == 1
    assert (values["clients",], values["clients_slow",], values["client_buffer_bytes",]) == (1, 1, 70)
    assert values["store_backlog_bytes",] == 34
    assert values["store_rows", "trades"] == 7


def test_health_answers_503_when_failing(state: State) -> None:
    assert asyncio.run(_get(state, "/health"))[0] == 200
    state.enter(Phase.HALTED, "409 insufficient subscription")
    status, text = asyncio.run(_get(state, "/health"))
    assert status == 503
    assert json.loads(text)["reasons"] == ["the feed is halted: 409 insufficient subscription"]


def test_status_has_all_that_the_page_asks_for_and_only_new_samples(state: State) -> None:
    state.clients[3] = Client(3, "10.0.0.1:5", state.clock(), subscriptions={"trades": {"AAPL", "IBM"}, "bars": {"*"}})
    status, text = asyncio.run(_get(state, "/status.json?since=99999999999999"))
    shown = json.loads(text)
    assert status == 200
    assert shown["clients"][0]["subscriptions"] == {"trades": 2, "bars": "*"}
    assert shown["seconds"] == []


def test_a_senseless_since_is_answered_400(state: State) -> None:
    assert asyncio.run(_get(state, "/status.json?since=yesterday"))[0] == 400


def _besides_feed(labels: dict[str, str]) -> list[str]:
    return [value for name, value in labels.items() if name != "feed"]


async def _get(state: State, path: str) -> tuple[int, str]:
    return await _ask({"iex": state}, path)


async def _ask(states: dict[str, State], path: str) -> tuple[int, str]:
    runner, port = await http.start(states, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, await answer.text()
    finally:
        await runner.cleanup()


def test_of_several_feeds_the_worst_is_the_health_and_each_can_be_asked_for(state: State, clock: Clock) -> None:
    halted = State(clock=clock)
    halted.enter(Phase.HALTED, "402 auth failed")
    states = {"iex": state, "crypto": halted}

    status, text = asyncio.run(_ask(states, "/health"))
    told = json.loads(text)
    assert (status, told["status"], told["reasons"]) == (
        503,
        "failing",
        ["crypto: the feed is halted: 402 auth failed"],
    )
    assert {name: feed["status"] for name, feed in told["feeds"].items()} == {"iex": "ok", "crypto": "failing"}
    assert asyncio.run(_ask(states, "/health?feed=iex"))[0] == 200
    assert asyncio.run(_ask(states, "/health?feed=crypto"))[0] == 503
    assert asyncio.run(_ask(states, "/health?feed=x"))[0] == 404
    shown = json.loads(asyncio.run(_ask(states, "/status.json?feed=crypto"))[1])
    assert (shown["feed"], shown["feeds"]) == ("crypto", {"iex": "ok", "crypto": "failing"})


def test_metrics_have_the_samples_of_all_feeds_under_one_name(state: State, clock: Clock) -> None:
    other = State(clock=clock)
    other.received(Messages.of([Message("t", "BTC/USD", b"")] * 2), 60, clock.now)
    state.received(Messages.of([Message("t", "AAPL", b"")] * 3), 90, clock.now)
    _status, text = asyncio.run(_ask({"iex": state, "crypto": other}, "/metrics"))
    families = [family for family in text_string_to_metric_families(text) if "received_messages" in family.name]
    assert len(families) == 1
    assert {sample.labels["feed"]: sample.value for sample in families[0].samples} == {"iex": 3, "crypto": 2}
    assert text.count("# TYPE alpaca_websocket_clients gauge") == 1


def test_with_a_token_nothing_is_answered_without_it(state: State) -> None:
    token = "0123456789abcdef"

    async def run() -> None:
        site, port = await http.start({"iex": state}, "127.0.0.1", 0, token=token)
        try:
            async with aiohttp.ClientSession() as session:

                async def ask(path: str, **given: Any) -> int:
                    async with session.get(f"http://127.0.0.1:{port}{path}", **given) as answer:
                        return answer.status

                for path in ("/", "/health", "/metrics", "/status.json", "/page.js"):
                    assert await ask(path) == 401
                    assert await ask(path, headers={"Authorization": f"Bearer {token}x"}) == 401
                    assert await ask(path, headers={"Authorization": "Basic !"}) == 401
                    for right in (f"Bearer {token}", aiohttp.encode_basic_auth("anybody", token)):
                        assert await ask(path, headers={"Authorization": right}) in (200, 503)
        finally:
            await site.cleanup()

    asyncio.run(run())
