# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong upstream, seen from a client: it loses nothing that Alpaca still knows, and never the server."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from support import Server, StandIn, ended, get, wait_for

from .conftest import World


class Client:
    """A `websockets` client on a thread, with everything that it received."""

    def __init__(self, server: Server, number: int = 0, **channels: list[str] | bool) -> None:
        self.got: list[dict[str, Any]] = []
        self._open = contextlib.ExitStack()
        self.connection = self._open.enter_context(connect(server.url))
        self._ask(action="auth", key=f"key-{number}", secret=f"secret-{number}")
        self._ask(action="subscribe", backfilled=True, **channels)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_for(lambda: self.of("subscription"), "the subscription")

    def _ask(self, **asked: Any) -> None:
        self.connection.send(json.dumps(asked))

    def _read(self) -> None:
        with contextlib.suppress(Exception):
            for frame in self.connection:
                self.got += json.loads(frame)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in list(self.got) if item.get("T") == kind]

    def ids(self) -> list[int]:
        return [item["i"] for item in self.of("t") if "i" in item]

    def close(self) -> None:
        self._open.close()
        self._thread.join(60)


@pytest.fixture
def client(world: World) -> Iterator[Client]:
    world.upstream.control("clear")
    world.server.phase("streaming")
    made = Client(world.server, trades=["*"], bars=["*"])
    wait_for(lambda: world.upstream.subscribed("trades") == ["*"], "the subscription to reach upstream")
    yield made
    made.close()


def _still_works(world: World, client: Client) -> None:
    """A new trade arrives."""
    world.server.phase("streaming")
    wait_for(lambda: world.upstream.subscribed("trades") == ["*"], "the subscription to be back")
    world.upstream.control("step")
    latest = world.upstream.state()["trades"][-1]
    wait_for(lambda: latest in client.ids(), "the latest trade")


def test_what_was_missed_is_fetched_and_marked(world: World, client: Client) -> None:
    upstream = world.upstream
    upstream.control("step", times=3)
    wait_for(lambda: len(client.ids()) == 15, "the first trades")
    upstream.control("rest_error", status=429, times=2)
    upstream.control("abort", hold=0.5)
    upstream.control("step", times=6, publish=False)
    missed = upstream.state()["trades"][-30:]

    _still_works(world, client)
    wait_for(lambda: set(missed) <= set(client.ids()), "the missed trades")

    trades = client.of("t")
    assert {item["i"] for item in trades if item.get("backfilled")} >= set(missed)
    assert not any(item.get("backfilled") for item in trades if item["i"] not in missed)
    assert len({item["i"] for item in trades}) == len(trades), "a trade came twice"
    wait_for(lambda: [item for item in client.of("b") if item.get("backfilled")], "the missed bars")
    gaps = wait_for(
        lambda: (gaps := world.server.status()["gaps"]) and gaps[0]["filled"] and gaps,
        "the gap to be recorded and filled",
    )
    assert gaps[0]["ended"]


def test_a_connection_limit_is_waited_out(world: World, client: Client) -> None:
    before = _count(world, "upstream_errors_total", code="406")
    world.upstream.control("abort", hold=2)
    _still_works(world, client)
    assert _count(world, "upstream_errors_total", code="406") > before


def test_a_storm_of_429_is_met_with_patience(world: World, client: Client) -> None:
    world.upstream.control("refuse", status=429, seconds=3)
    began = len(world.upstream.state()["attempts"])
    world.upstream.control("abort")
    _still_works(world, client)
    attempts = world.upstream.state()["attempts"][began:]
    assert 2 <= len(attempts) <= 100, "without a pause it would be thousands"


@pytest.mark.parametrize("fault", ["break_frame", "close", "abort"])
def test_a_connection_that_breaks_is_made_anew(world: World, client: Client, fault: str) -> None:
    before = len(world.upstream.state()["attempts"])
    world.upstream.control(fault)
    wait_for(lambda: len(world.upstream.state()["attempts"]) > before, "another attempt")
    _still_works(world, client)


@pytest.mark.parametrize("code", [400, 401, 403, 405, 407, 410, 500, 599])
def test_an_error_in_mid_stream_is_counted_and_survived(world: World, client: Client, code: int) -> None:
    before = _count(world, "upstream_errors_total", code=str(code))
    world.upstream.control("error", code=code)
    wait_for(lambda: _count(world, "upstream_errors_total", code=str(code)) > before, "the error to be counted")
    _still_works(world, client)


@pytest.mark.parametrize("moment", ["connect", "auth", "subscribe"])
@pytest.mark.parametrize("code", [404, 500])
def test_an_error_at_any_moment_of_the_greeting_is_tried_again(
    world: World, client: Client, moment: str, code: int
) -> None:
    before = len(world.upstream.state()["attempts"])
    world.upstream.control("error", code=code, when=moment)
    world.upstream.control("abort")
    wait_for(lambda: len(world.upstream.state()["attempts"]) > before, "another attempt")
    _still_works(world, client)


def test_malformed_frames_are_counted_and_what_is_good_among_them_still_comes(world: World, client: Client) -> None:
    before = world.server.status()["malformed"]
    sent = world.upstream.control("malformed")["sent"]
    wait_for(lambda: world.server.status()["malformed"] > before, "them to be counted")
    assert len(sent) > 10
    _still_works(world, client)


def test_duplicates_and_disorder_do_no_harm(world: World, client: Client) -> None:
    world.upstream.control("reorder", times=3)
    world.upstream.control("duplicate", times=3)
    world.upstream.control("step", times=6)
    made = world.upstream.state()["trades"][-30:]
    wait_for(lambda: set(made) <= set(client.ids()), "all of them")
    _still_works(world, client)


def _count(world: World, name: str, **labels: str) -> float:
    text = get(f"{world.server.page}/metrics")[1]
    shown = ",".join(f'{key}="{value}"' for key, value in sorted({**labels, "feed": "iex"}.items()))
    line = f"alpaca_websocket_{name}{{{shown}}} "
    return next((float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(line)), 0.0)


# Servers of their own, with other settings.


def test_a_silent_socket_is_noticed_and_replaced(tmp_path: Path) -> None:
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"silence": {"trades": 1.0}, "subscribe": {"trades": ["*"]}})
        with ended(server):
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription")
            upstream.control("step")
            wait_for(lambda: server.status()["received"] == 5, "five trades")
            wait_for(lambda: len(upstream.state()["attempts"]) >= 2, "a second connection")
            assert any("silen" in event["text"] for event in server.status()["events"])


def test_a_half_open_socket_is_noticed_and_its_place_waited_for(tmp_path: Path) -> None:
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"ping_seconds": 0.3, "subscribe": {"trades": ["*"]}})
        with ended(server):
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription")
            upstream.control("half_open", seconds=4)
            began = time.monotonic()
            wait_for(lambda: upstream.subscribed("trades") == ["*"], "the subscription to be back")
            assert time.monotonic() - began > 2, "the place was free too early: the test proves nothing"
            assert len(upstream.state()["attempts"]) >= 3, "it was never turned away"
            upstream.control("step")
            wait_for(lambda: server.status()["received"] == 5, "five trades")


@pytest.mark.parametrize(("code", "when"), [(402, "auth"), (409, "subscribe")])
def test_what_a_person_must_mend_stops_the_attempts_until_told(tmp_path: Path, code: int, when: str) -> None:
    upstream = StandIn()
    with ended(upstream):
        upstream.control("error", code=code, when=when)
        server = Server(tmp_path, upstream, upstream={"subscribe": {"trades": ["*"]}})
        with ended(server):
            health = server.phase("halted")
            assert health["status"] == "failing"
            assert str(code) in " ".join(health["reasons"])
            assert get(f"{server.page}/health")[0] == 503
            attempts = len(upstream.state()["attempts"])
            # A client is served all the same, and its wish does not start another attempt.
            client = Client(server, trades=["AAPL"])
            client.close()
            assert len(upstream.state()["attempts"]) == attempts
            server.popen.send_signal(signal.SIGHUP)
            server.phase("streaming")


def test_a_symbol_limit_keeps_what_fits_and_names_what_does_not(tmp_path: Path) -> None:
    upstream = StandIn("--symbol-limit", "2")
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"subscribe": {"trades": ["AAPL", "IBM"]}})
        with ended(server):
            wait_for(lambda: upstream.subscribed("trades") == ["AAPL", "IBM"], "the subscription")
            client = Client(server, trades=["MSFT"])
            [error] = wait_for(lambda: client.of("error"), "the client to be told")
            assert error["code"] == 405
            assert "MSFT" in error["msg"]
            health = server.health()
            assert health["status"] == "degraded"
            assert "MSFT" in health["reasons"][0]
            assert upstream.subscribed("trades") == ["AAPL", "IBM"]
            client.close()


def test_msgpack_upstream_gives_the_same(tmp_path: Path) -> None:
    upstream = StandIn()
    with ended(upstream):
        server = Server(tmp_path, upstream, upstream={"format": "msgpack"})
        with ended(server):
            client = Client(server, trades=["AAPL"])
            wait_for(lambda: upstream.subscribed("trades") == ["AAPL"], "the subscription")
            upstream.control("step", times=2)
            wait_for(lambda: len(client.ids()) == 2, "two trades")
            assert {item["t"][-1] for item in client.of("t")} == {"Z"}
            assert upstream.state()["connections"][0]["packed"]
            client.close()
