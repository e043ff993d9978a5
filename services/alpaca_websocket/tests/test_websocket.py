# SPDX-License-Identifier: GPL-3.0-or-later
"""Compression as agreed, and messages of fragments."""

from __future__ import annotations

import itertools
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows import WSMsgType
from picows.picows import _make_test_ws_frame as frame

from alpaca_websocket.websocket import OFFER, Assembler, FrameError, agreed, deflate, inflate, negotiate

T, C = WSMsgType.TEXT, WSMsgType.CONTINUATION


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("permessage-deflate", "permessage-deflate"),
        # alpaca-py, and npm's @alpacahq/alpaca-trade-api 3, which refuses client_no_context_takeover
        ("permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=9"),
        (
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
        ),
        (OFFER, OFFER),
        (f"{OFFER}; client_max_window_bits", OFFER),
        (
            "x-webkit-deflate-frame, permessage-deflate; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover",
        ),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", "permessage-deflate"),
        ('permessage-deflate; server_max_window_bits="12"', "permessage-deflate; server_max_window_bits=12"),
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=12", "permessage-deflate; client_max_window_bits=9"),
    ],
)
def test_of_an_offer_only_what_was_offered_is_answered(offers: str, answer: str) -> None:
    found = negotiate(offers)
    assert found is not None
    assert found.header == answer
    assert {part.partition("=")[0].strip() for part in answer.split(";")} <= set(re.split(r"[;,= ]+", offers))


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "bbf-usp-protocol",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; unheard_of",
        ";;,,=",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; server_max_window_bits",
    ],
)
def test_an_offer_that_cannot_be_met_is_declined(offers: str) -> None:
    assert negotiate(offers) is None


def test_an_answer_that_was_not_offered_is_refused() -> None:
    assert agreed(OFFER)
    assert not agreed("")
    with pytest.raises(FrameError):
        agreed("permessage-deflate")
    with pytest.raises(FrameError):
        agreed("x-other")


@given(st.binary(max_size=5000), st.integers(9, 15))
def test_deflated_and_inflated_is_the_same(payload: bytes, bits: int) -> None:
    packed = deflate(payload, bits)
    assert inflate(packed, 5000) == payload
    # As any other implementation would, with the window that was agreed.
    assert zlib.decompressobj(-bits).decompress(packed + b"\0\0\xff\xff") == payload


def test_a_message_that_explodes_is_stopped() -> None:
    bomb = deflate(b"0" * 50_000_000)
    assert len(bomb) < 300_000
    with pytest.raises(FrameError) as caught:
        inflate(bomb, 1_000_000)
    assert caught.value.code == 1009


def test_garbage_is_not_inflated() -> None:
    with pytest.raises(FrameError) as caught:
        inflate(b"\xff\xff\xff\xff garbage", 1000)
    assert caught.value.code == 1007


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.booleans())
def test_fragments_make_the_message(payload: bytes, cuts: list[int], compressed: bool) -> None:
    whole = deflate(payload) if compressed else payload
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    parts = [whole[start:end] for start, end in itertools.pairwise(edges)]
    assembler = Assembler(limit=1000, deflate=True)
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        found = assembler.add(frame(C if number else T, part, last, compressed and not number))
        assert (found is not None) == last
    assert found == (T, payload)


def test_alpaca_py_s_empty_last_fragment_ends_the_message() -> None:
    assembler = Assembler(limit=1000)
    assert assembler.add(frame(T, b"{}", False, False)) is None
    assert assembler.add(frame(C, b"", True, False)) == (T, b"{}")
    assert assembler.add(frame(T, b"next", True, False)) == (T, b"next")


@pytest.mark.parametrize(
    ("offers", "window"), [("permessage-deflate; client_max_window_bits", 9), ("permessage-deflate", 15)]
)
def test_a_peer_may_keep_its_context(offers: str, window: int) -> None:
    found = negotiate(offers)
    assert found is not None
    engine = zlib.compressobj(9, zlib.DEFLATED, -window)
    assembler = Assembler(limit=1000, deflate=True, peer_bits=found.peer_bits)
    sizes = []
    for number in range(20):
        text = b'{"action":"subscribe","trades":["AAPL"],"number":%d}' % number
        packed = (engine.compress(text) + engine.flush(zlib.Z_SYNC_FLUSH))[:-4]
        sizes.append(len(packed))
        assert assembler.add(frame(T, packed, True, True)) == (T, text)
    assert sizes[-1] < sizes[0] / 2, "it did not refer to earlier messages: the test proves nothing"


def _all(assembler: Assembler, frames: list[tuple[WSMsgType, bytes, bool, bool]]) -> None:
    for one in frames:
        assembler.add(frame(*one))


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(C, b"x", True, False)], 1002),
        ([(T, b"x", False, False), (T, b"y", True, False)], 1002),
        ([(T, b"x", True, True)], 1002),
        ([(T, b"x" * 60, False, False), (C, b"x" * 60, False, False)], 1009),
        ([(T, b"", False, False), *[(C, b"", False, False)] * 200], 1009),
    ],
)
def test_what_breaks_the_rules_is_refused(frames: list[tuple[WSMsgType, bytes, bool, bool]], code: int) -> None:
    assembler = Assembler(limit=100)
    with pytest.raises(FrameError) as caught:
        _all(assembler, frames)
    assert caught.value.code == code


def test_a_reserved_bit_on_a_continuation_is_refused() -> None:
    assembler = Assembler(limit=100, deflate=True)
    assembler.add(frame(T, b"x", False, True))
    with pytest.raises(FrameError):
        assembler.add(frame(C, b"x", True, True))
