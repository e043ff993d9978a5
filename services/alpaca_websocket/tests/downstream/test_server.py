# SPDX-License-Identifier: GPL-3.0-or-later
"""Alpaca's protocol as a client sees it: real connections to a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from alpaca_websocket.downstream import auth
from alpaca_websocket.protocol import Message, Messages
from serving import Caller, calling, certificate, eventually, message, serving

EMPTY: dict[str, Any] = {
    "T": "subscription", "trades": [], "quotes": [], "bars": [], "updatedBars": [], "dailyBars": [], "statuses": [],
    "lulds": [], "corrections": [], "cancelErrors": [],
}  # fmt: skip


def error(code: int, msg: str) -> dict[str, Any]:
    return {"T": "error", "code": code, "msg": msg}


def token(name: str, **more: object) -> tuple[str, str, str]:
    """Key, secret and the table for the file."""
    given, table = auth.make(name)
    key, secret = (line.split()[1] for line in given.splitlines())
    return key, secret, table + "".join(f"{field} = {json.dumps(value)}\n" for field, value in more.items())


def test_subscriptions_add_up_and_are_told_whole(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            first = await client.ask(action="subscribe", trades=["AAPL"], quotes=[], bars=["*"])
            assert first == EMPTY | {
                "trades": ["AAPL"],
                "bars": ["*"],
                "corrections": ["AAPL"],
                "cancelErrors": ["AAPL"],
            }
            second = await client.ask(action="subscribe", trades=["MSFT", "AAPL"])
            assert second["trades"] == second["corrections"] == ["AAPL", "MSFT"]
            third = await client.ask(action="unsubscribe", trades=["AAPL"], bars=["*"], quotes=["never"])
            assert third == EMPTY | {name: ["MSFT"] for name in ("trades", "corrections", "cancelErrors")}
            assert server.router.wanted() == {"trades": {"MSFT"}}

    asyncio.run(run())


def test_messages_go_to_whoever_asked_and_to_nobody_else(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as some, calling(server.url) as every:
            await some.ask(action="subscribe", trades=["AAPL"], statuses=["IBM"])
            await every.ask(action="subscribe", trades=["*"], quotes=["*"])
            sent = [
                message(kind, symbol, number)
                for number, (kind, symbol) in enumerate(
                    [
                        ("t", "AAPL"),
                        ("t", "IBM"),
                        ("q", "AAPL"),
                        ("c", "AAPL"),
                        ("x", "IBM"),
                        ("s", "IBM"),
                        ("b", "AAPL"),
                    ]
                )
            ]
            server.publish(*sent)
            assert [item["i"] for item in await some.next()] == [0, 3, 5]
            assert [item["i"] for item in await every.next()] == [0, 1, 2, 3, 4]

    asyncio.run(run())


def test_what_comes_in_one_turn_leaves_as_one_frame_in_its_order(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            await client.ask(action="subscribe", trades=["*"])
            for number in range(0, 300, 3):
                server.publish(*(message("t", f"S{n}", n) for n in range(number, number + 3)))
            assert [item["i"] for item in await client.next()] == list(range(300))

    asyncio.run(run())


def test_frames_stay_below_what_clients_accept(tmp_path: Path) -> None:
    """`websockets` refuses more than a mebibyte by default."""

    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            await client.ask(action="subscribe", trades=["*"])
            server.publish(*(message("t", "A", number, padding=200) for number in range(6000)))
            assert [item["i"] for item in await client.until(lambda item: item["i"] == 5999)] == list(range(6000))

    asyncio.run(run())


@pytest.mark.parametrize("packed", [False, True], ids=["json", "msgpack"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_every_format_carries_the_same(tmp_path: Path, packed: bool, compression: str | None) -> None:
    async def run() -> None:
        headers = {"Content-Type": "application/msgpack"} if packed else {}
        async with (
            serving(tmp_path) as server,
            connect(server.url, compression=compression, additional_headers=headers) as ws,
        ):
            offered = "permessage-deflate" in (
                ws.response.headers.get("Sec-WebSocket-Extensions", "") if ws.response else ""
            )
            assert offered == (compression is not None)

            async def ask(request: dict[str, Any]) -> None:
                await ws.send(msgpack.packb(request) if packed else json.dumps(request))

            async def answer() -> Any:
                frame = await ws.recv()
                assert isinstance(frame, bytes) == packed
                return msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)

            assert await answer() == [{"T": "success", "msg": "connected"}]
            await ask({"action": "auth", "key": "me", "secret": ""})
            assert await answer() == [{"T": "success", "msg": "authenticated"}]
            await ask({"action": "subscribe", "trades": ["AAPL"]})
            assert (await answer())[0]["trades"] == ["AAPL"]
            server.publish(*(message("t", "AAPL", number) for number in range(50)))
            items = await answer()
            assert [item["i"] for item in items] == list(range(50))
            moment = msgpack.Timestamp(1795444200, 1) if packed else "2026-11-23T14:30:00.000000001Z"
            assert {item["t"] for item in items} == {moment}

    asyncio.run(run())


def test_what_msgpack_cannot_carry_costs_only_its_own_message(tmp_path: Path) -> None:
    async def run() -> None:
        headers = {"Content-Type": "application/msgpack"}
        async with serving(tmp_path) as server, connect(server.url, additional_headers=headers) as ws:
            packed = Caller(ws)
            await packed.next()
            for request in ({"action": "auth", "key": "m"}, {"action": "subscribe", "trades": ["*"]}):
                await ws.send(msgpack.packb(request))
                await packed.next()
            server.publish(Message("t", "A", b'{"T":"t","S":"A","i":1,"x":"\xff"}'), message("t", "A", 2))
            assert [item["i"] for item in await packed.next()] == [2]
            assert server.state.dropped == {"not msgpack": 1}

    asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"nonsense", error(400, "invalid syntax")),
        (b"[]", error(400, "invalid syntax")),
        ({"action": "dance"}, error(400, "invalid syntax")),
        ({"action": "subscribe", "trades": [1]}, error(400, "invalid syntax")),
        ({"action": "subscribe", "trades": [""]}, error(400, "invalid syntax")),
        ({"action": "auth", "key": "me"}, error(403, "already authenticated")),
        ({"action": "subscribe", "news": ["AAPL"]}, error(410, "invalid subscribe action for this feed")),
        ({"action": "subscribe", "tradez": ["AAPL"]}, error(410, "invalid subscribe action for this feed")),
        (
            {"action": "subscribe", "tradez": ["A"], "bars": ["A"]},
            error(410, "invalid subscribe action for this feed"),
        ),
        ({"action": "unsubscribe", "Bars": ["AAPL"]}, error(410, "invalid subscribe action for this feed")),
        ({"action": "replay", "since": 1}, error(410, "invalid subscribe action for this feed")),
    ],
)
def test_a_wrong_request_is_answered_and_the_connection_goes_on(
    tmp_path: Path, request_: Any, answer: dict[str, Any]
) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            await client.ask(action="subscribe", bars=["AAPL"])
            await client.socket.send(request_.decode() if isinstance(request_, bytes) else json.dumps(request_))
            assert await client.next() == [answer]
            assert (await client.ask(action="subscribe"))["bars"] == ["AAPL"]
            assert server.state.client_errors == {answer["code"]: 1}

    asyncio.run(run())


def test_fields_that_are_no_channels_do_no_harm(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            answer = await client.ask(action="subscribe", bars=["AAPL"], id=7, tag="x", more={"a": [1]}, empty=[])
            assert answer["bars"] == ["AAPL"]

    asyncio.run(run())


def test_fetched_messages_are_told_to_who_asked_for_them(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as plain, calling(server.url) as both:
            await plain.ask(action="subscribe", trades=["A"])
            await both.ask(action="subscribe", trades=["A"])
            await both.ask(action="subscribe", backfilled=True)
            server.router.publish(Messages.of([message("t", "A", 1)]), 1, backfilled=True)
            assert (await both.next())[0]["i"] == 1
            server.publish(message("t", "A", 2))
            assert (await plain.next())[0]["i"] == 2
            assert (await both.next())[0]["i"] == 2
            await both.ask(action="subscribe", backfilled=False)
            server.router.publish(Messages.of([message("t", "A", 3)]), 3, backfilled=True)
            server.publish(message("t", "A", 4))
            assert (await both.next())[0]["i"] == 4
        async with serving(tmp_path, deliver_backfilled=True) as server, calling(server.url) as plain:
            await plain.ask(action="subscribe", trades=["A"])
            server.router.publish(Messages.of([message("t", "A", 1)]), 1, backfilled=True)
            assert (await plain.next())[0]["i"] == 1

    asyncio.run(run())


def test_what_waits_is_sent_before_a_client_asks_for_fetched_messages_as_well(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            await client.ask(action="subscribe", trades=["A"])
            for number in range(200):
                await client.socket.send(json.dumps({"action": "subscribe", "backfilled": number % 2 == 0}))
                for part in range(10):  # in every turn of the loop, so that something waits whenever it changes
                    server.publish(message("t", "A", 10 * number + part))
                    await asyncio.sleep(0)
            got = await client.until(lambda item: item.get("i") == 1999)
            assert [item["i"] for item in got if item["T"] == "t"] == list(range(2000))

    asyncio.run(run())


def test_nothing_but_authentication_comes_first(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url, key=None) as client:
            for action in ("subscribe", "unsubscribe", "replay"):
                assert await client.ask(action=action, trades=["*"]) == error(401, "not authenticated")
            server.publish(message("t", "AAPL", 1))
            assert (await client.ask(action="auth", key="me"))["msg"] == "authenticated"

    asyncio.run(run())


def test_who_does_not_authenticate_in_time_is_sent_away(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, auth_timeout=0.2) as server, calling(server.url, key=None) as client:
            assert await client.next() == [error(404, "auth timeout")]
            assert await client.closed() == 1008

    asyncio.run(run())


def test_who_makes_errors_without_end_is_sent_away(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            for _ in range(20):
                assert (await client.ask(action="?"))["code"] == 400
            assert await client.closed() == 1008
            await eventually(lambda: not server.state.clients, "the client to be forgotten")

    asyncio.run(run())


def test_tokens_open_the_door_and_have_their_limits(tmp_path: Path) -> None:
    few_key, few_secret, few = token("few", symbols=2, connections=1)
    bars_key, bars_secret, bars = token("bars", channels=["bars"], connections=2)

    async def run() -> None:
        async with serving(tmp_path, tokens=few + bars) as server:
            for key, secret in ((few_key, bars_secret), ("unknown", few_secret), ("", "")):
                async with calling(server.url, key=None) as stranger:
                    assert await stranger.ask(action="auth", key=key, secret=secret) == error(402, "auth failed")
                    assert await stranger.closed() == 1008
            async with calling(server.url, key=few_key, secret=few_secret) as client:
                async with calling(server.url, key=None) as second:
                    answer = await second.ask(action="auth", key=few_key, secret=few_secret)
                    assert answer == error(406, "connection limit exceeded")
                    assert await second.closed() == 1008
                await client.ask(action="subscribe", trades=["A", "B"], bars=["A"])
                for more in (["C"], ["*"]):
                    assert await client.ask(action="subscribe", quotes=more) == error(405, "symbol limit exceeded")
                kept = await client.ask(action="subscribe")
                assert (kept["trades"], kept["quotes"]) == (["A", "B"], [])
                await client.ask(action="unsubscribe", trades=["B"])
                assert (await client.ask(action="subscribe", quotes=["C"]))["quotes"] == ["C"]
            # The place is free again.
            await eventually(lambda: not server.state.clients, "the first to be gone")
            async with calling(server.url, key=few_key, secret=few_secret):
                assert [view.name for view in server.state.clients.values()] == ["few"]
            async with calling(server.url, key=bars_key, secret=bars_secret) as client:
                refused = await client.ask(action="subscribe", bars=["A"], trades=["A"])
                assert refused == error(409, "insufficient subscription")
                assert (await client.ask(action="subscribe", bars=["*"]))["bars"] == ["*"]

    asyncio.run(run())


def test_keys_in_the_headers_authenticate_as_well(tmp_path: Path) -> None:
    key, secret, table = token("one")

    async def run() -> None:
        headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}
        async with serving(tmp_path, tokens=table) as server, connect(server.url, additional_headers=headers) as ws:
            client = Caller(ws)
            assert (await client.next())[0]["msg"] == "connected"
            assert (await client.next())[0]["msg"] == "authenticated"

    asyncio.run(run())


def test_tokens_are_read_anew_and_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    old_key, old_secret, old = token("old")
    new_key, new_secret, new = token("new")
    path.write_text(old)
    tokens = auth.Tokens(str(path))
    assert tokens.check(old_key, old_secret)
    path.write_text(new)
    tokens.reload()
    assert tokens.check(new_key, new_secret)
    assert not tokens.check(old_key, old_secret)
    for broken in ("[[client]]\nname = 1", new + new, new + 'channels = ["stocks"]\n'):
        path.write_text(broken)
        with pytest.raises(auth.TokensError):
            tokens.reload()
        assert tokens.check(new_key, new_secret)
    assert new_secret not in new


def test_there_is_a_limit_of_connections(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path, max_connections=1) as server,
            calling(server.url, key=None),  # has not authenticated, and counts elsewhere
            calling(server.url),
            calling(server.url, key=None) as late,
        ):
            assert await late.ask(action="auth", key="me") == error(406, "connection limit exceeded")
            assert await late.closed() == 1013

    asyncio.run(run())


def test_who_does_not_read_gets_a_bounded_buffer_then_407_and_is_cut_while_others_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        limit = 200_000
        async with (
            serving(tmp_path, buffer_bytes=limit, slow_grace_seconds=1) as server,
            calling(server.url) as good,
            calling(server.url, key="slow", compression=None, max_queue=1) as slow,
        ):
            # Its library stops reading once a frame waits to be received; then the kernel's buffers fill.
            await slow.ask(action="subscribe", trades=["*"])
            await good.ask(action="subscribe", trades=["*"])
            (view,) = (view for view in server.state.clients.values() if view.name == "slow")
            number = 0
            while not view.slow:
                server.publish(*(message("t", "A", n, padding=500) for n in range(number, number + 100)))
                number += 100
                assert [item["i"] for item in await good.next()] == list(range(number - 100, number))
            assert view.buffered_highest <= limit + 100_000
            assert server.state.client_errors[407] == 1
            await eventually(lambda: view.id not in server.state.clients, "the slow one to be cut")
            got: list[int] = []
            with contextlib.suppress(ConnectionClosed):
                while True:
                    got += [item.get("i", -1) for item in await slow.next()]
            assert got == list(range(len(got)))  # nothing is left out before the end
            server.publish(message("t", "A", number))
            assert (await good.next())[0]["i"] == number
            assert server.state.clients_cut == 1

    asyncio.run(run())


@pytest.mark.parametrize("writes", ["a pong", "a reply"])
def test_pongs_and_replies_count_for_the_buffer(tmp_path: Path, writes: str) -> None:
    async def run() -> None:
        limit = 500_000
        async with (
            serving(tmp_path, buffer_bytes=limit, slow_grace_seconds=60) as server,
            calling(server.url, compression=None, max_queue=1) as slow,
        ):
            # Its reply alone is longer than what is left of the buffer in the end.
            symbols = [f"SYMBOL{number}" for number in range(3000)]
            await slow.ask(action="subscribe", trades=["*"], quotes=symbols)
            (view,) = server.state.clients.values()
            number, waiting = 0, next(iter(server.server._sessions))._buffered
            left = 100 if writes == "a pong" else 20_000

            def settled() -> bool:
                return view.slow or view.delivered == number

            while (room := limit - left - waiting()) > 0:
                server.publish(message("t", "A", number, padding=max(0, min(5000, room - 150))))
                number += 1
                # Two messages that wait for one turn would be one frame, longer than the room that was measured.
                await eventually(settled, "it to be sent")
                assert not view.slow
            for _ in range(10):
                if writes == "a pong":
                    await slow.socket.ping(f"{number:0125}")
                    number += 1
                else:
                    await slow.socket.send(json.dumps({"action": "subscribe"}))
            await eventually(lambda: view.slow, "it to be told 407")
            assert server.state.client_errors == {407: 1}

    asyncio.run(run())


def test_a_slow_client_that_reads_in_the_end_finds_407_behind_the_data(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path, buffer_bytes=100_000, slow_grace_seconds=60) as server,
            calling(server.url, compression=None, max_queue=1) as slow,
        ):
            await slow.ask(action="subscribe", trades=["*"])
            (view,) = server.state.clients.values()
            number = 0
            while not view.slow:
                server.publish(*(message("t", "A", n, padding=500) for n in range(number, number + 100)))
                number += 100
                await asyncio.sleep(0)
            found = await slow.until(lambda item: item["T"] == "error")
            assert found[-1] == error(407, "slow client")
            numbers = [item["i"] for item in found[:-1]]
            assert numbers == list(range(len(numbers)))
            assert await slow.closed() == 1008

    asyncio.run(run())


def test_a_stopping_server_sends_what_it_has_and_says_good_bye(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as client:
            await client.ask(action="subscribe", trades=["*"])
            server.publish(message("t", "A", 1))
            stopping = asyncio.create_task(server.server.stop())
            assert (await client.next())[0]["i"] == 1
            assert await client.closed() == 1001
            await stopping

    asyncio.run(run())


def test_the_union_of_what_is_asked_is_told_when_it_changes(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as first:
            await first.ask(action="subscribe", trades=["A"])
            async with calling(server.url) as second:
                await second.ask(action="subscribe", trades=["A"])
                assert (server.changes, server.router.wanted()) == (1, {"trades": {"A"}})
                await second.ask(action="subscribe", bars=["*"])
                assert (server.changes, server.router.wanted()) == (2, {"trades": {"A"}, "bars": {"*"}})
            await eventually(lambda: server.changes == 3, "the second to be gone")
            assert server.router.wanted() == {"trades": {"A"}}

    asyncio.run(run())


def test_clients_are_told_what_the_upstream_has_no_room_for(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as server, calling(server.url) as one, calling(server.url) as other:
            await one.ask(action="subscribe", trades=["A", "B"])
            await other.ask(action="subscribe", trades=["B"])
            server.server.warn("/v2/iex", {"trades": {"A"}})
            (told,) = await one.next()
            assert (told["code"], told["msg"]) == (405, "symbol limit exceeded: upstream has no room for trades A")
            assert (await other.ask(action="subscribe"))["T"] == "subscription"

    asyncio.run(run())


def test_tls_needs_nothing_but_a_certificate(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)

    async def run() -> None:
        trusting = ssl.create_default_context(cafile=made)
        async with (
            serving(tmp_path, tls_certificate=made, tls_key=key) as server,
            calling(server.url.replace("ws:", "wss:"), ssl=trusting) as client,
        ):
            await client.ask(action="subscribe", trades=["*"])
            server.publish(message("t", "A", 1))
            assert (await client.next())[0]["i"] == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: x\r\n" * 2000],
    ids=["zeros", "http", "endless"],
)
def test_what_is_no_handshake_harms_nobody(tmp_path: Path, garbage: bytes) -> None:
    async def run() -> None:
        async with serving(tmp_path, auth_timeout=0.5) as server, calling(server.url) as client:
            with socket.create_connection(("127.0.0.1", server.port)) as raw:
                raw.setblocking(False)
                loop = asyncio.get_running_loop()
                try:
                    await loop.sock_sendall(raw, garbage)
                    while await loop.sock_recv(raw, 65536):
                        pass
                except ConnectionError:
                    pass
            assert (await client.ask(action="subscribe", bars=["*"]))["bars"] == ["*"]

    asyncio.run(run())
