# SPDX-License-Identifier: GPL-3.0-or-later
"""Journal records: what is whole is found, what is not is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from alpaca_websocket.store.layout import Layout
from alpaca_websocket.store.records import Batch, encode, messages, scan, seed
from alpaca_websocket.store.recovery import recover
from store_kit import batch, numbered, sample

FIRST = 1_000
_quick = budget(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _segment(sizes: list[int]) -> tuple[list[Batch], list[bytes]]:
    batches, first = [], FIRST
    for size in sizes:
        batches.append(batch(first, first * 10, [numbered(first + i) for i in range(size)]))
        first += size
    return batches, [b"".join(encode([each], seed(FIRST), FIRST - 1)) for each in batches]


def _read(path: Path, data: bytes) -> list[Batch]:
    path.write_bytes(data)
    found = []
    for record in scan(path, FIRST):
        first, items = record.first, list(messages(record.payload))
        for received_ns, rows in record.arrivals:
            found.append(batch(first, received_ns, items[:rows]))
            first, items = first + rows, items[rows:]
        assert not items
    return found


_sizes = st.lists(st.integers(1, 20), min_size=1, max_size=8)


@_quick
@given(sizes=_sizes, share=st.floats(0, 1))
def test_a_cut_segment_yields_exactly_the_records_before_the_cut(
    tmp_path: Path, sizes: list[int], share: float
) -> None:
    batches, encoded = _segment(sizes)
    data = b"".join(encoded)
    cut = round(share * len(data))
    ends = [sum(map(len, encoded[: i + 1])) for i in range(len(encoded))]
    assert _read(tmp_path / "s", data[:cut]) == batches[: sum(end <= cut for end in ends)]


@_quick
@given(sizes=_sizes, at=st.floats(0, 1), garbage=st.binary(min_size=1, max_size=600))
def test_garbage_costs_the_records_it_touches_and_invents_none(
    tmp_path: Path, sizes: list[int], at: float, garbage: bytes
) -> None:
    batches, encoded = _segment(sizes)
    data = b"".join(encoded)
    start = round(at * (len(data) - 1))
    broken = data[:start] + garbage + data[start + len(garbage) :]
    intact, offset = [], 0
    for each, record in zip(batches, encoded, strict=True):
        if broken[offset : offset + len(record)] == record:
            intact.append(each)
        offset += len(record)
    assert _read(tmp_path / "s", broken) == intact


def test_a_record_of_another_segment_is_not_taken_for_ours(tmp_path: Path) -> None:
    batches, encoded = _segment([3])
    foreign = b"".join(encode([batch(FIRST + 3, 0, [sample("t")])], seed(FIRST + 3), FIRST - 1))
    assert _read(tmp_path / "s", encoded[0] + foreign) == batches


def test_a_repeated_record_counts_once(tmp_path: Path) -> None:
    batches, encoded = _segment([3, 2])
    assert _read(tmp_path / "s", encoded[0] + encoded[0] + encoded[1]) == batches


@pytest.mark.parametrize("kind", "tqbudslcx")
def test_messages_come_back_byte_for_byte(tmp_path: Path, kind: str) -> None:
    one = batch(FIRST, 5, [sample(kind), sample("t")])
    assert _read(tmp_path / "s", b"".join(encode([one], seed(FIRST), 0))) == [one]


def test_one_record_holds_many_arrivals(tmp_path: Path) -> None:
    batches, _ = _segment([3, 1, 2])
    assert _read(tmp_path / "s", b"".join(encode(batches, seed(FIRST), 0))) == batches
    (record,) = scan(tmp_path / "s", FIRST)
    assert record.received() == [FIRST * 10] * 3 + [(FIRST + 3) * 10] + [(FIRST + 4) * 10] * 2


def test_an_empty_segment_has_no_records(tmp_path: Path) -> None:
    assert _read(tmp_path / "s", b"") == []


@_quick
@given(content=st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b"AWJ1" + tail))
def test_recovery_takes_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    place = Layout(tmp_path_factory.mktemp("store"))
    place.create()
    place.open_segment(FIRST).write_bytes(content)
    report = recover(place, 5)
    assert report.next_sequence == FIRST
    assert bool(place.damaged()) == (content != b"" and not content.startswith(b"AWJ1"))
    assert place.segments() == []
    assert not report.clean
