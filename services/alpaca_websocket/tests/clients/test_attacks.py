# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches the port, or holds one client's token, cannot stop the feed for the others."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import PATIENCE, Server, get, wait_for

from .attack import (
    BEGINNING,
    MIDDLE,
    PING,
    TEXT,
    Neighbour,
    Raw,
    arrivals,
    attacked,
    bomb,
    errors,
    frame,
    resident,
)

SENSELESS = [frame(TEXT, b"nonsense"), frame(TEXT, b"\xff\xfe"), bomb(b"[" * 2000), frame(0x82, b"\xc1")]
NOTHING = b'{"action":"subscribe"}'


@contextlib.contextmanager
def all_closed(connections: list[Raw]) -> Iterator[None]:
    try:
        yield
    finally:
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def meanwhile(*actions: Callable[[], bool]) -> Iterator[None]:
    """Each is done again and again on a thread of its own, until the end or until it returns false."""
    over = threading.Event()

    def repeat(action: Callable[[], bool]) -> None:
        while not over.is_set() and action():
            pass

    threads = [threading.Thread(target=repeat, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()


def _fragments(connection: Raw) -> None:
    """A mebibyte of a message that does not end."""
    connection.send(frame(BEGINNING, b"[" * 1000))
    for _ in range(1000):
        if not connection.send(frame(MIDDLE, b" " * 1024)):
            break


def _one_frame(connection: Raw) -> None:
    """Most of a frame that is announced as a large one."""
    whole = frame(TEXT, b" " * 200_000)
    for start in range(0, 150_000, 10_000):
        if not connection.send(whole[start : start + 10_000]):
            break


def _empty_frames(connection: Raw) -> None:
    connection.send(frame(BEGINNING, b""), frame(MIDDLE, b"") * 5000)


@pytest.mark.parametrize("sends", [_fragments, _one_frame, _empty_frames])
def test_a_message_without_end_is_cut_before_it_costs_anything(tmp_path: Path, sends: Callable[[Raw], None]) -> None:
    with attacked(tmp_path) as (upstream, server):
        good = Neighbour(server)
        before = resident(server)
        connections = [Raw(server, source=f"127.0.0.{2 + number % 2}") for number in range(300)]
        with all_closed(connections):
            for connection in connections:
                sends(connection)
            highest = resident(server)
            assert all(connection.gone() for connection in connections)
            assert highest - before < 60, "300 mebibytes were sent"
        assert good.gets(upstream, 1)
        wait_for(lambda: arrivals(server)["unauthenticated"] == 0, "their places to be free")


def test_half_a_handshake_costs_little_and_ends(tmp_path: Path) -> None:
    with attacked(tmp_path, auth_timeout=5) as (upstream, server):
        good = Neighbour(server)
        before = resident(server)
        connections = [Raw(server, source=f"127.0.0.{2 + number % 2}", upgrade=False) for number in range(300)]
        with all_closed(connections):
            for connection in connections:
                connection.send(b"GET /v2/iex HTTP/1.1\r\nX: " + b"x" * 7000)
            wait_for(lambda: arrivals(server)["unauthenticated"] == 300, "all to have a place")
            assert resident(server) - before < 40
            assert good.gets(upstream, 1)
            assert all(connection.gone() for connection in connections)


def test_whatever_makes_no_sense_counts_and_ends_the_connection(tmp_path: Path) -> None:
    with attacked(tmp_path) as (_upstream, server):
        for logged_in, most in ((False, 5), (True, 20)):
            for senseless in (
                frame(TEXT, b"nonsense"),
                frame(TEXT, b"\xff\xfe"),
                bomb(b"[" * 2000),
                frame(0x82, b"\xc1"),
            ):
                before = errors(server, 400)
                connection = Raw(server)
                if logged_in:
                    connection.log_in()
                connection.send(senseless * 200)
                assert connection.gone()
                assert errors(server, 400) - before == most
        before = errors(server, 1009)
        connection = Raw(server)
        connection.log_in()
        connection.send(bomb(b" " * (1 << 20)))
        assert connection.gone()
        assert errors(server, 1009) - before == 1


def test_who_fires_compressed_requests_keeps_nobody_else_out(tmp_path: Path) -> None:
    """Each is a kilobyte on the wire and a quarter of a mebibyte to read, and asks for nothing."""
    shot = bomb(NOTHING + b" " * 250_000)
    assert len(shot) < 1000
    with attacked(tmp_path) as (upstream, server):
        connections = [Raw(server, receive=4096) for _ in range(50)]
        with all_closed(connections):
            for connection in connections:
                connection.log_in()
            with meanwhile(*(lambda each=each: each.send(shot * 20) for each in connections)):
                for number in range(3):
                    late = Neighbour(server, symbol=f"GOOD{number}")
                    assert late.gets(upstream, number)
                    assert get(f"{server.page}/health")[0] == 200
                    late.close()
        assert resident(server) < 500


def test_who_pings_without_end_and_never_reads_costs_little(tmp_path: Path) -> None:
    """Pings that come together are answered by one pong, so it takes many to fill a buffer."""
    with attacked(tmp_path) as (upstream, server):
        good = Neighbour(server)
        connection = Raw(server, receive=4096)
        connection.log_in()
        before = resident(server)
        pings = frame(PING, b"p" * 125) * 200
        with all_closed([connection]), meanwhile(lambda: connection.send(pings)):
            for number in range(20):
                assert good.gets(upstream, number)
                assert resident(server) - before < 60


def test_who_asks_and_never_reads_is_cut(tmp_path: Path) -> None:
    with attacked(tmp_path, slow_grace_seconds=1) as (upstream, server):
        good = Neighbour(server)
        connection = Raw(server, receive=4096)
        connection.log_in()
        symbols = [f"S{number}" for number in range(2000)]
        assert connection.ask(action="subscribe", trades=symbols)
        before = resident(server)
        highest = before
        with all_closed([connection]):
            while connection.send(frame(TEXT, NOTHING) * 100):
                highest = max(highest, resident(server))
                if highest - before > 100:
                    break
        assert highest - before < 60
        wait_for(lambda: errors(server, 407) == 1, "it to be told that it is slow")
        wait_for(lambda: arrivals(server)["clients"] == 1, "it to be cut")
        assert good.gets(upstream, 1)


def test_symbols_have_a_limit_for_each_token_and_a_stop_is_honoured(tmp_path: Path) -> None:
    with attacked(tmp_path, max_request_bytes=1 << 21) as (upstream, server):
        good = Neighbour(server)
        before = resident(server)
        connection, second = Raw(server), Raw(server)
        connection.log_in()
        second.log_in()
        for count in (100_000, 20_001):
            connection.ask(action="subscribe", trades=[f"S{number}" for number in range(count)])
            assert b"405" in connection.until(b"]")
        connection.ask(action="subscribe", trades=[f"S{number}" for number in range(19_000)])
        assert b"S18999" in connection.until(b"cancelErrors")
        # They are the token's, not the connection's.
        second.ask(action="subscribe", quotes=[f"T{number}" for number in range(1001)])
        assert b"405" in second.until(b"]")
        second.ask(action="subscribe", quotes=[f"T{number}" for number in range(1000)])
        assert b"T999" in second.until(b"cancelErrors")
        for _ in range(50):
            second.ask(action="subscribe", quotes=["T1"])
            assert b"T999" in second.until(b"cancelErrors")
        assert resident(server) - before < 150
        assert good.gets(upstream, 1)

        toggles = [
            frame(TEXT, json.dumps({"action": action, "trades": [f"S{n}" for n in range(19_000)]}).encode())
            for action in ("unsubscribe", "subscribe")
        ]
        shot = bomb(NOTHING + b" " * 250_000)
        with (
            all_closed([connection, second]),
            meanwhile(lambda: connection.send(*toggles), lambda: second.send(shot * 20)),
        ):
            server.popen.send_signal(signal.SIGTERM)
            assert server.popen.wait(PATIENCE) == 0


def test_idle_connections_take_no_client_s_place(tmp_path: Path) -> None:
    with attacked(tmp_path, max_connections=9, max_unauthenticated=40, max_unauthenticated_per_address=20) as (
        upstream,
        server,
    ):
        # From two addresses, so that the places of both are full, and more of each wait.
        idle = [Raw(server, source=f"127.0.0.{2 + number % 2}", upgrade=number < 40) for number in range(300)]
        with all_closed(idle):
            wait_for(lambda: arrivals(server)["waiting"] > 100, "them to crowd")
            clients = [Neighbour(server, symbol=f"GOOD{number}") for number in range(8)]
            assert all(client.gets(upstream, number) for number, client in enumerate(clients))
            assert arrivals(server)["clients"] == 8
        for client in clients:
            client.close()


def test_clients_of_the_same_address_get_in_beside_idle_connections(tmp_path: Path) -> None:
    with attacked(tmp_path, max_unauthenticated_per_address=20) as (upstream, server):
        idle = [Raw(server, upgrade=number < 20) for number in range(40)]
        with all_closed(idle):
            clients = [Neighbour(server, symbol=f"GOOD{number}") for number in range(8)]
            assert all(client.gets(upstream, number) for number, client in enumerate(clients))
            assert arrivals(server)["turned_away"]["made room"] >= 8


def test_a_crowd_of_clients_at_once_gets_in(tmp_path: Path) -> None:
    with attacked(tmp_path, max_unauthenticated_per_address=10) as (_upstream, server):
        crowd = [Raw(server, upgrade=False) for _ in range(100)]
        with all_closed(crowd):
            for number, each in enumerate(crowd):
                keys = f"APCA-API-KEY-ID: key-{number % 3}\r\nAPCA-API-SECRET-KEY: secret-{number % 3}\r\n"
                threading.Thread(target=each.upgrade, args=(keys,), daemon=True).start()
            wait_for(lambda: arrivals(server)["clients"] == 100, "all hundred")


def test_without_descriptors_health_says_that_no_client_gets_in(tmp_path: Path) -> None:
    with attacked(tmp_path) as (upstream, server):
        good = Neighbour(server)
        pid = server.popen.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
        taken = [Raw(server, upgrade=False) for _ in range(20)]
        with all_closed(taken):
            health = wait_for(lambda: (found := server.health())["status"] == "failing" and found, "health to fail")
            assert "no client is admitted" in health["reasons"][0]
            assert good.gets(upstream, 1)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            wait_for(lambda: server.health()["status"] == "ok", "health to recover")
            late = Neighbour(server, symbol="LATE")
            assert late.gets(upstream, 2)


def _status_port(server: Server) -> tuple[str, int]:
    host, port = server.page.removeprefix("http://").split(":")
    return host, int(port)


def test_half_a_request_on_the_status_port_ends_and_keeps_nobody_out(tmp_path: Path) -> None:
    with attacked(tmp_path) as (_upstream, server):
        halves = [socket.create_connection(_status_port(server), timeout=PATIENCE) for _ in range(100)]
        for number, half in enumerate(halves):
            with contextlib.suppress(OSError):
                half.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * number)
        for _ in range(5):
            assert get(f"{server.page}/health")[0] == 200
        for half in halves:
            with contextlib.suppress(ConnectionError):
                assert half.recv(1000) == b""
            half.close()


@pytest.mark.parametrize(
    ("asks", "answer"),
    [
        (b"GET /status.json?since=" + b"9" * 5000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /status.json?since=%D9%A1 HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /status.json?since=-1 HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /status.json?since=1 HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /health?feed=none HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET http://[ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /health\r\n\r\n", b"400"),
        (b"POST /health HTTP/1.1\r\nContent-Length: 5000000000\r\n\r\n", b"405"),
        (b"HEAD /health HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /health HTTP/1.1\r\nX: " + b"x" * 10_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_the_status_port_answers_whatever_is_asked(status_port: tuple[str, int], asks: bytes, answer: bytes) -> None:
    with socket.create_connection(status_port, timeout=PATIENCE) as connection:
        connection.sendall(asks)
        assert connection.recv(1000).split(b" ")[1] == answer


@pytest.fixture(scope="module")
def status_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with attacked(tmp_path_factory.mktemp("status")) as (_upstream, server):
        yield _status_port(server)
        assert "Traceback" not in "\n".join(server.lines)


@pytest.mark.parametrize("since", ["9" * 5000, "9" * 20, "-1", "\u0661", 10**25, -1, 1.5, True, [1], {"a": 1}])
def test_a_replay_since_nonsense_is_refused_without_harm(tmp_path: Path, since: object) -> None:
    with attacked(tmp_path) as (_upstream, server):
        good = Neighbour(server)
        assert good.ask(action="replay", since=since, trades=["A"])["code"] == 400
        good.connection.send('{"action":"replay","since":' + "9" * 5000 + "}")
        assert json.loads(good.connection.recv(PATIENCE))[0]["code"] == 400
        assert "Traceback" not in "\n".join(server.lines)
