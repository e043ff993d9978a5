# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames taken apart and put together, in both formats."""

from __future__ import annotations

import gc
import json
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpaca_websocket import protocol
from alpaca_websocket.protocol import CHANNELS, Message, ProtocolError, split, split_msgpack, to_msgpack
from alpaca_websocket.upstream.recent import Recent, raws

TRADE = (
    b'{"T":"t","S":"AAPL","i":96921,"x":"D","p":126.55,"s":1,'
    b'"t":"2021-02-22T15:51:44.208123456Z","c":["@","I"],"z":"C"}'
)
NS = 1_614_009_104_208_123_456
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("STtabc", max_size=2), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_a_message_keeps_the_bytes_it_came_with() -> None:
    spaced = TRADE.replace(b",", b" ,\n ")
    frame = split(b"[ %b ,%b]" % (spaced, TRADE))
    assert list(frame.data) == [Message("t", "AAPL", spaced), Message("t", "AAPL", TRADE)]
    assert (frame.control, frame.malformed) == ([], 0)


def test_what_is_remembered_is_none_of_the_collectors_business() -> None:
    """Tens of thousands of messages are; a look at each would stop the server for ten milliseconds."""
    recent = Recent("t")
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(20_000):
        recent.add(split(b"[%b]" % TRADE).data, 1)
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert raws(recent.texts()) == {TRADE: 20_000}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("tqbz"), st.sampled_from(["A", "AAPL", "BRK.B", "BTC/USD", "BTC/USX", "é", 'x"y']), PLAIN
        )
    )
)
def test_what_is_known_already_changes_nothing(items: list[tuple[str, str, Any]]) -> None:
    """A frame is taken apart alike whether beginnings like its messages' were seen before or not."""
    raws = [
        json.dumps({"T": kind, "S": symbol, "x": rest}, separators=(",", ":")).encode() for kind, symbol, rest in items
    ]
    raws += [b'{"S":"A","T":"t"}', b'{"T":"t","S":"A","S":"B"}', b'{"T":"t","S":"A","T":7}', b'{ "T":"t", "S":"A"}']
    protocol._known.clear()
    first = [split(b"[%b]" % raw) for raw in raws]
    again = [split(b"[%b]" % raw) for raw in raws]
    assert first == again
    for (kind, symbol, _), frame in zip(items, again, strict=False):
        assert frame.data.pairs == ([(kind, symbol)] if kind in CHANNELS else [])
    whole = split(b" [" + b" ,\n".join(raws) + b"]\n")
    assert list(whole.data) == [message for frame in first for message in frame.data]
    assert list(split(b"[%b]" % whole.data.text).data) == list(whole.data)
    assert whole.malformed == sum(frame.malformed for frame in first)


def test_what_is_known_is_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_MOST_KNOWN", 3)
    for number in range(10):
        assert split(b'[{"T":"t","S":"S%d"}]' % number).data.pairs == [("t", f"S{number}")]
    assert len(protocol._known) <= 3


def test_control_messages_are_told_apart_and_the_malformed_counted() -> None:
    odd = b'1,null,{"T":"t"},{"T":7,"S":"A"},{"T":"??","S":"A"},{"T":"t","S":"%b"}' % (b"A" * 33)
    frame = split(b'[{"T":"success","msg":"connected"},%b,%b]' % (odd, TRADE))
    assert frame.control == [{"T": "success", "msg": "connected"}]
    assert [message.symbol for message in frame.data] == ["AAPL"]
    assert frame.malformed == 6


@pytest.mark.parametrize("symbols", ["AAPL", {"AAPL": 1}, [["AAPL"]], [{}], [1], [None], 0])
def test_a_subscription_told_in_another_shape_is_malformed(symbols: Any) -> None:
    odd = {"T": "subscription", "trades": symbols}
    good = {"T": "subscription", "trades": ["AAPL"], "quotes": None, "futures": [1]}
    for frame in (split(json.dumps([odd, good]).encode()), split_msgpack(msgpack.packb([odd, good]))):
        assert (frame.control, frame.malformed) == ([good], 1)


@pytest.mark.parametrize("frame", [b"", b"[", b"{}", b'"x"', b"[" * 100_000, b"\xff\xfe", b"[1,]", b"null"])
def test_what_is_no_array_is_refused(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        split(frame)


@given(st.binary(max_size=60) | PLAIN.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_break_the_splitting(frame: bytes) -> None:
    for splitter in (split, split_msgpack):
        try:
            found = splitter(frame)
        except ProtocolError:
            continue
        for message in found.data:
            assert message.kind in protocol.CHANNELS
            json.loads(message.raw)


@given(st.lists(st.dictionaries(st.text(min_size=1, max_size=3), PLAIN, max_size=4), max_size=20))
def test_msgpack_carries_what_json_carries(items: list[dict[str, Any]]) -> None:
    """From JSON to msgpack and back; integers beyond 64 bits, which msgpack has not, do not occur."""
    items = [item | {"T": "b", "S": "X"} for item in items]
    frame = split(json.dumps(items).encode())
    packed = protocol.join_msgpack([to_msgpack(raw) for raw in frame.data.raws])
    assert len(msgpack.unpackb(packed, strict_map_key=False)) == len(items)
    back = [json.loads(message.raw) for message in split_msgpack(packed).data]
    assert back == [json.loads(message.raw) for message in frame.data]


def test_msgpack_time_is_the_timestamp_extension_with_its_nanoseconds() -> None:
    item = msgpack.unpackb(to_msgpack(TRADE))
    assert item["t"] == msgpack.Timestamp.from_unix_nano(NS)
    (message,) = split_msgpack(msgpack.packb([item])).data
    assert json.loads(message.raw)["t"] == "2021-02-22T15:51:44.208123456Z"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_a_number_beyond_msgpack_s_is_its_own_error(number: int) -> None:
    (message,) = split(b'[{"T":"t","S":"A","x":%d}]' % number).data
    with pytest.raises(ProtocolError, match="2\\*\\*6"):
        to_msgpack(message.raw)


@pytest.mark.parametrize("ns", [0, 1_614_009_104 * 10**9, (1 << 34) * 10**9, -(10**9), NS])
def test_every_form_of_the_timestamp_extension_is_read(ns: int) -> None:
    """msgpack has one of 4, of 8 and of 12 bytes."""
    packed = msgpack.packb([{"T": "t", "S": "A", "t": msgpack.Timestamp.from_unix_nano(ns)}])
    (message,) = split_msgpack(packed).data
    assert protocol.time_ns(json.loads(message.raw)["t"]) == ns


def test_a_foreign_extension_spoils_its_own_message_only() -> None:
    good = {"T": "t", "S": "A"}
    frame = split_msgpack(msgpack.packb([good, {**good, "t": msgpack.ExtType(5, b"x")}, good]))
    assert (len(frame.data), frame.malformed) == (2, 1)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)), st.integers(0, 999))
def test_times_keep_their_nanoseconds(moment: datetime, rest: int) -> None:
    ns = int(moment.replace(microsecond=0, tzinfo=UTC).timestamp()) * 10**9 + moment.microsecond * 1000 + rest
    assert protocol.time_ns(protocol.rfc3339(ns)) == ns


def test_times_of_other_zones_are_understood() -> None:
    assert protocol.time_ns("2021-02-22T16:51:44.208123456+01:00") == NS


@pytest.mark.parametrize("text", ["", "now", "2021-02-22", "2021-02-22T15:51:44", "2021-02-22T15:51:44.2x8Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|iso"):
        protocol.time_ns(text)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_536])
def test_frames_of_any_length_are_arrays(count: int) -> None:
    assert len(json.loads(protocol.join_json([TRADE] * count))) == count
    assert len(msgpack.unpackb(protocol.join_msgpack([b"\x80"] * count))) == count


def test_backfilled_messages_say_so() -> None:
    assert json.loads(protocol.mark_backfilled(TRADE + b" \n")) == {**json.loads(TRADE), "backfilled": True}


@pytest.mark.parametrize("packed", [False, True])
def test_requests_name_channels_and_symbols(packed: bool) -> None:
    asked = {"action": "subscribe", "trades": ["AAPL"], "quotes": [], "bars": ["*"], "tomorrow": 1}
    found = protocol.request(protocol.encode_request(asked, msgpack=packed), msgpack=packed)
    assert found.action == "subscribe"
    assert found.channels() == {"trades": ["AAPL"], "bars": ["*"]}


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"{}", b'{"action":1}', b'{"action":"subscribe","trades":"AAPL"}', b"\xff"]
)
def test_what_is_no_request_is_refused(frame: bytes) -> None:
    for packed in (False, True):
        with pytest.raises(ProtocolError):
            protocol.request(frame, msgpack=packed)


def test_errors_have_the_texts_of_the_documentation() -> None:
    assert protocol.error(406) == {"T": "error", "code": 406, "msg": "connection limit exceeded"}
    assert sorted(protocol.ERRORS) == [400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 413, 500]
