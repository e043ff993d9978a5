# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is sent, from either side, the server stays, and goes on serving those who behave."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import socket
import struct
from typing import Any

import msgpack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from alpaca_websocket import protocol
from support import PATIENCE, wait_for

from .conftest import World

ON_A_SERVER = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Nearly right is worse than plainly wrong.
CHANNEL_NAMES = [*protocol.KINDS, "news", "orderbooks", "T", "since"]
REQUESTS = st.fixed_dictionaries(
    {"action": st.sampled_from(["auth", "subscribe", "unsubscribe", "replay", "listen"]) | ANYTHING},
    optional={
        **{name: st.lists(st.text(max_size=6) | SCALARS, max_size=4) | ANYTHING for name in CHANNEL_NAMES},
        "key": st.just("key-0") | ANYTHING,
        "secret": ANYTHING,
    },
)
MESSAGES = st.fixed_dictionaries(
    {"T": st.sampled_from([*protocol.CHANNELS, "success", "error", "subscription"]) | ANYTHING},
    optional={
        "S": st.sampled_from(["AAPL", "", "*", "\u0000", "a/b"]) | ANYTHING,
        "t": st.sampled_from(["2024-01-02T15:00:00.1Z", "2024-13-45T99:99:99Z", "9999-12-31T23:59:60Z"]) | ANYTHING,
        "p": SCALARS, "s": SCALARS, "i": SCALARS, "c": ANYTHING, "code": SCALARS, "msg": ANYTHING, "trades": ANYTHING,
    },
)  # fmt: skip


# Without a process: what the decoders may raise.


def _names(item: dict[str, Any], message: protocol.Message) -> bool:
    """Whether the message was taken for what it is of. A piece of news is of several symbols, or of none."""
    return message.kind == protocol.NEWS or item.get("S", "") == message.symbol


@given(st.binary() | st.lists(ANYTHING | MESSAGES).map(lambda items: json.dumps(items).encode()))
def test_taking_a_frame_apart_raises_nothing_but_its_own_error(frame: bytes) -> None:
    with contextlib.suppress(protocol.ProtocolError):
        for message in protocol.split(frame).data:
            assert message.kind in protocol.CHANNELS
            assert _names(json.loads(message.raw), message)
            with contextlib.suppress(protocol.ProtocolError):
                assert _names(msgpack.unpackb(protocol.to_msgpack(message.raw), strict_map_key=False), message)


@given(st.binary() | st.lists(ANYTHING | MESSAGES).map(lambda items: _pack(items)))
def test_taking_a_msgpack_frame_apart_raises_nothing_but_its_own_error(frame: bytes) -> None:
    with contextlib.suppress(protocol.ProtocolError):
        for message in protocol.split_msgpack(frame).data:
            assert _names(json.loads(message.raw), message)


@given(st.binary() | REQUESTS.map(lambda asked: json.dumps(asked).encode()), st.booleans())
def test_a_request_is_understood_or_refused(frame: bytes, packed: bool) -> None:
    with contextlib.suppress(protocol.ProtocolError):
        for symbols in protocol.request(frame, msgpack=packed).channels().values():
            assert all(isinstance(symbol, str) for symbol in symbols)


def _pack(items: Any) -> bytes:
    try:
        return bytes(msgpack.packb(items))
    except (OverflowError, ValueError, UnicodeError):
        return b"\xc1"


# The process itself.


def _serves(world: World) -> None:
    """A client that behaves still gets data."""
    with connect(world.server.url, open_timeout=PATIENCE) as good:
        good.recv(PATIENCE)
        good.send(json.dumps({"action": "auth", "key": "key-1", "secret": "secret-1"}))
        good.recv(PATIENCE)
        good.send(json.dumps({"action": "subscribe", "trades": ["GOOD"]}))
        good.recv(PATIENCE)
        wait_for(lambda: "GOOD" in world.upstream.subscribed("trades"), "the good client's subscription")
        world.upstream.control("send", messages=[{"T": "t", "S": "GOOD", "p": 1}])
        while not any(item.get("S") == "GOOD" for item in json.loads(good.recv(PATIENCE))):
            pass
    assert world.server.alive()


def _port(world: World) -> tuple[str, int]:
    host, port = world.server.url.removeprefix("ws://").split("/")[0].split(":")
    return host, int(port)


def _upgraded(world: World) -> socket.socket:
    sock = socket.create_connection(_port(world), timeout=PATIENCE)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /v2/iex HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(4096)
    assert b" 101 " in answer
    return sock


def _frame(first: int, payload: bytes, *, masked: bool = True, length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    flag = 0x80 if masked else 0
    head = bytes((first,))
    if size < 126:
        head += bytes((flag | size,))
    elif size < 1 << 16:
        head += bytes((flag | 126,)) + struct.pack(">H", size)
    else:
        head += bytes((flag | 127,)) + struct.pack(">Q", size)
    return head + (b"\0\0\0\0" if masked else b"") + payload


def _poke(sock: socket.socket, *pieces: bytes) -> None:
    with sock, contextlib.suppress(OSError):
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def test_bytes_that_are_no_handshake(world: World) -> None:
    dice = random.Random(1)
    samples = [
        b"", b"\0", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: \xff\r\n\r\n",
        b"POST / HTTP/9.9\r\nContent-Length: -1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        *(dice.randbytes(dice.randrange(1, 400)) for _ in range(30)),
    ]  # fmt: skip
    for sample in samples:
        _poke(socket.create_connection(_port(world), timeout=PATIENCE), sample)
    _serves(world)


def test_bytes_that_are_no_frames(world: World) -> None:
    dice = random.Random(2)
    samples = [
        _frame(0x81, b"{}", masked=False), _frame(0x81, b"\xff\xfe"), _frame(0xC1, b"not deflated"), _frame(0xB1, b"x"),
        _frame(0x83, b"reserved opcode"), _frame(0x80, b"continues nothing"), _frame(0x01, b"x") + _frame(0x01, b"y"),
        _frame(0x09, b"a ping in pieces"), _frame(0x89, b"p" * 126), _frame(0x88, b"\x03"), _frame(0x88, b"\xff\xff"),
        _frame(0x81, b"", length=1 << 62), _frame(0x81, b"", length=(1 << 64) - 1), _frame(0x81, b"x", length=100),
        _frame(0x01, b"[") + _frame(0x00, b"") * 5000, _frame(0xC1, b"\xaa\x56\x4a\x2c\x29\x00" * 3),
        *(bytes((dice.randrange(256), dice.randrange(256))) + dice.randbytes(dice.randrange(200)) for _ in range(60)),
    ]  # fmt: skip
    for sample in samples:
        _poke(_upgraded(world), sample)
    _serves(world)


def test_a_compressed_bomb_is_refused(world: World) -> None:
    import zlib

    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = engine.compress(b" " * (1 << 28)) + engine.flush(zlib.Z_SYNC_FLUSH)
    _poke(_upgraded(world), _frame(0xC1, bomb[:-4]))
    _serves(world)


@ON_A_SERVER
@given(
    frames=st.lists(
        REQUESTS.map(lambda asked: json.dumps(asked)) | ANYTHING.map(json.dumps) | st.binary(max_size=60), max_size=8
    ),
    authenticated=st.booleans(),
)
def test_requests_without_sense(world: World, frames: list[str | bytes], authenticated: bool) -> None:
    with contextlib.suppress(WebSocketException, OSError), connect(world.server.url, open_timeout=PATIENCE) as odd:
        if authenticated:
            odd.send(json.dumps({"action": "auth", "key": "key-0", "secret": "secret-0"}))
        for frame in frames:
            odd.send(frame)
        odd.ping(ack_on_close=True).wait(PATIENCE)
    assert world.server.popen.poll() is None


def test_after_senseless_requests_it_serves(world: World) -> None:
    _serves(world)


@ON_A_SERVER
@given(
    st.binary(max_size=200) | st.lists(MESSAGES | ANYTHING, max_size=5).map(lambda items: json.dumps(items).encode())
)
def test_an_upstream_without_sense(world: World, frame: bytes) -> None:
    world.server.phase("streaming")
    world.upstream.control("raw", base64=base64.b64encode(frame).decode())
    assert world.server.popen.poll() is None


def test_after_a_senseless_upstream_it_serves(world: World) -> None:
    assert world.server.status()["malformed"] > 0
    world.server.popen.send_signal(signal.SIGHUP)  # an error 402 or 409 among them may have halted it
    world.server.phase("streaming")
    _serves(world)
