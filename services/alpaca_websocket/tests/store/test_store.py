# SPDX-License-Identifier: GPL-3.0-or-later
"""The store from the outside: numbers, durability, reading back, restarts."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from alpaca_websocket.protocol import Messages
from alpaca_websocket.store import Store, StoreUnavailable, describe, layout
from alpaca_websocket.store import store as store_module
from alpaca_websocket.store.replay import Damaged, DamagedError
from store_kit import assert_contiguous, fill, numbered, parquet, sample, settings, stored, until


class _Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def time_ns(self) -> int:
        return int(self.now * 1e9)

    def monotonic(self) -> float:
        return self.now


def test_what_is_durable_is_told_and_counted_on(tmp_path: Path) -> None:
    clock = _Clock()
    store = Store.open(settings(tmp_path), clock=clock)
    assert list(store.replay("tq", since_sequence=store.durable - 1)) == []
    assert store.durable == clock.time_ns() // 1000 - 1, "a new store counts from the time"
    told: list[int] = []
    store.on_durable(told.append)
    last = store.append(Messages.of([sample("t"), sample("q")]), 5)
    assert last == store.durable + 2 or last == store.durable
    until(lambda: told and told[-1] == last, "the callback")
    assert store.durable == store.stats().durable == store.stats().sequence == last
    assert store.append(Messages.of([]), 6) == last
    store.close()


def test_a_callback_that_fails_stops_nothing(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path))

    def fail(durable: int) -> None:
        raise RuntimeError(durable)

    store.on_durable(fail)
    fill(store, 1, 3)
    assert store.flush()
    fill(store, 4, 3)
    assert store.flush()
    store.close()


def test_segments_are_sealed_by_size_and_by_age(tmp_path: Path) -> None:
    clock = _Clock()
    store = Store.open(settings(tmp_path, segment_bytes=5_000, segment_seconds=60.0), clock=clock)
    fill(store, 1, 200)
    until(lambda: parquet(tmp_path), "a segment that grew too large")
    store.flush()
    before = len(parquet(tmp_path))
    fill(store, 201, 1)
    store.flush()
    clock.now += 61
    until(lambda: len(parquet(tmp_path)) > before, "a segment that grew too old")
    store.close()


def test_a_restart_counts_on(tmp_path: Path) -> None:
    sequences = []
    for number in range(3):
        store = Store.open(settings(tmp_path))
        assert store.recovery.clean
        fill(store, 1 + number * 10, 10)
        store.close()
    store = Store.open(settings(tmp_path))
    sequences = [item.sequence for item in store.replay("tq")]
    store.close()
    assert len(sequences) == 30
    assert_contiguous(sequences)


def test_replay_gives_the_same_from_memory_journal_and_parquet(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, commit_milliseconds=60_000))
    sent = fill(store, 1, 500)
    from_memory = list(store.replay("tq"))
    assert store.durable < store.stats().sequence
    store.flush()
    from_journal = list(store.replay("tq"))
    store.close()
    assert parquet(tmp_path)
    again = Store.open(settings(tmp_path))
    from_parquet = list(again.replay("tq"))
    again.close()
    assert [item.message for item in from_memory] == sent
    assert from_memory == from_journal == from_parquet


@pytest.mark.parametrize("rolled", [False, True], ids=["journal", "Parquet"])
def test_replay_is_by_kind_symbol_sequence_and_time(tmp_path: Path, rolled: bool) -> None:
    store = Store.open(settings(tmp_path))
    began = store.durable
    for number in range(1, 101):
        store.append(Messages.of([numbered(number)]), number * 10**9)
    store.flush()
    if rolled:
        store.close()
        store = Store.open(settings(tmp_path))
    everything = [numbered(number) for number in range(1, 101)]
    assert stored(store, "q") == [message for message in everything if message.kind == "q"]
    assert stored(store, "tq", symbols={"MSFT"}) == [message for message in everything if message.symbol == "MSFT"]
    assert stored(store, "tq", symbols=set()) == []
    assert stored(store, "b") == []
    assert stored(store, "tq", since_sequence=began + 40) == everything[40:]
    assert stored(store, "tq", since_time=41 * 10**9) == everything[40:]
    assert stored(store, "tq", since_sequence=began + 100) == []
    store.close()


def test_a_damaged_file_is_named_and_all_around_it_is_replayed(tmp_path: Path) -> None:
    sent = []
    for number in range(3):
        store = Store.open(settings(tmp_path))
        sent.append(fill(store, 1 + number * 30, 30))
        store.close()
    files = [path for path in parquet(tmp_path) if "kind=trades" in str(path)]
    flip(files[1], in_a_page(files[1]))
    store = Store.open(settings(tmp_path))
    found: list[Damaged] = []
    read = [item.message for item in store.replay("tq", damaged=found.append)]
    assert read == [*sent[0], *(message for message in sent[1] if message.kind == "q"), *sent[2]]
    assert [(each.channel, each.file, each.last - each.first) for each in found] == [("trades", files[1].name, 29)]
    with pytest.raises(DamagedError, match=files[1].name):
        list(store.replay("tq"))
    assert len(list(store.replay("q"))) == 30  # nobody else is concerned
    assert list(store.replay("t", since_time=time.time_ns(), damaged=found.append)) == []
    assert len(found) == 1
    store.close()


def flip(path: Path, *places: int) -> None:
    """Rots these bytes, or mends them."""
    body = bytearray(path.read_bytes())
    for place in places:
        body[place] ^= 0xFF
    path.write_bytes(body)


def in_a_page(path: Path) -> int:
    """The last byte of the messages as they came, which the page's checksum covers."""
    group = pq.read_metadata(path).row_group(0)
    chunks = (group.column(number) for number in range(group.num_columns))
    (chunk,) = (each for each in chunks if each.path_in_schema == "raw")
    start = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    return int(start + chunk.total_compressed_size - 1)


def test_wherever_a_file_is_damaged_all_or_none_of_it_is_replayed(tmp_path: Path) -> None:
    """Also in its footer, which has no checksum."""
    sent = []
    for number in range(2):
        store = Store.open(settings(tmp_path))
        sent.append(fill(store, 1 + number * 30, 30))
        store.close()
    path = next(path for path in parquet(tmp_path) if "kind=trades" in str(path))
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    columns: list[int] = []  # what it says of these
    for name in (b"sequence", b"symbol", b"raw"):
        start = whole.index(name, footer)
        columns += range(start - 5, start + len(name) + 5)
    store = Store.open(settings(tmp_path))
    everything = [*sent[0], *sent[1]]
    without = [*(message for message in sent[0] if message.kind == "q"), *sent[1]]
    named = 0
    for place in [*range(0, len(whole), 61), *columns]:
        flip(path, place)
        found: list[Damaged] = []
        read = [item.message for item in store.replay("tq", damaged=found.append)]
        assert read == (without if found else everything), f"byte {place} of {len(whole)}"
        named += len(found)
        flip(path, place)
    assert named > 50
    store.close()


def test_what_was_lost_with_a_segment_is_named(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path))
    sent = fill(store, 1, 10)
    store.close()
    first = store.durable - 9
    sealed = layout.Layout(tmp_path).sealed_segment(first, first + 11)
    sealed.with_suffix(".damaged").write_bytes(b"ten of twelve could be rolled")
    again = Store.open(settings(tmp_path))
    found: list[Damaged] = []
    assert [item.message for item in again.replay("tq", damaged=found.append)] == sent
    assert [(each.channel, each.first, each.last) for each in found] == [("", first, first + 11)]
    assert list(again.replay("tq", since_sequence=first + 11, damaged=found.append)) == []
    assert len(found) == 1
    again.close()


def test_replay_is_complete_while_segments_are_rolled_under_it(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, segment_bytes=4_000))
    stop = threading.Event()

    def write() -> None:
        for number in itertools.count(1, 20):
            if stop.is_set():
                return
            fill(store, number, 20)
            store.flush()
            stop.wait(0.002)  # so much that files come up, not so much that reading them takes long

    began = store.durable
    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(parquet(tmp_path)) > 3, "the first files")
    for _ in range(5):
        reading = store.replay("tq")
        least = store.durable
        items = list(reading)
        assert_contiguous(item.sequence for item in items)
        assert items[0].sequence == began + 1
        assert items[-1].sequence >= least
        assert [item.message for item in items] == [numbered(item.sequence - began) for item in items]
    stop.set()
    writer.join()
    store.close()


def test_one_server_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(settings(tmp_path))
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.0)
    with pytest.raises(StoreUnavailable, match="belongs to another running server"):
        Store.open(settings(tmp_path))
    store.close()
    Store.open(settings(tmp_path)).close()


def test_the_report_says_what_was_cut_and_what_was_damaged(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, close_seconds=0.0))
    for number in range(1, 5):  # a record each
        fill(store, number, 1)
        assert store.flush(60)
    place = layout.Layout(tmp_path)
    (segment,) = place.segments()
    crashed = tmp_path / "crashed"
    (crashed / "journal").mkdir(parents=True)
    data = bytearray(segment.path.read_bytes())
    store.close()
    second = data.index(b"AWJ1", 4)
    data[second + 60] ^= 1  # a bit lost after it had been acknowledged
    (crashed / "journal" / segment.path.name).write_bytes(data + b"AWJ1 torn")
    (crashed / "tmp").mkdir()
    (crashed / "tmp" / "trades-2026-11-20-x.parquet").write_bytes(b"PAR1")

    again = Store.open(settings(crashed))
    report = again.recovery
    assert not report.clean
    assert report.half_written == 1
    (found,) = report.segments
    assert (found.messages, found.cut_bytes) == (3, 9)
    assert found.missing == [(segment.first + 1, segment.first + 1)]
    assert len(found.damaged) == 1
    assert "MISSING messages" in str(report)
    assert json.loads((crashed / "recovery.json").read_text())["next_sequence"] == report.next_sequence
    assert [item.message for item in again.replay("tq")] == [numbered(1), numbered(3), numbered(4)]
    again.close()
    assert again.stats().worker.missing_messages == 1
    assert "damaged on the disk" in again.stats().last_error
    assert len(layout.Layout(crashed).damaged()) == 1, "what could not be read is kept"

    Store.open(settings(crashed)).close()
    text = describe.describe(settings(crashed))
    assert "clean start" in text
    assert "Recoveries: 1\n" in text
    assert "MISSING messages" in text, "a report outlives the next start"
    assert "DAMAGED, kept" in text
    assert "trades: 1 files" in text


def test_a_journal_of_another_format_is_kept_and_its_numbers_are_not_used_again(tmp_path: Path) -> None:
    place = layout.Layout(tmp_path)
    place.create()
    place.sealed_segment(10, 19).write_bytes(b"AWJ0 sealed")
    place.open_segment(20).write_bytes(b"AWJ0 open")
    for _ in range(2):
        store = Store.open(settings(tmp_path))
        assert store.durable >= 19
        store.close()
    assert [segment.path.read_bytes() for segment in place.damaged()] == [b"AWJ0 sealed", b"AWJ0 open"]


def test_much_is_written_ahead_of_the_commit_and_is_not_durable_by_that(tmp_path: Path) -> None:
    store = Store.open(settings(tmp_path, commit_milliseconds=4000))
    began = store.durable
    sent = fill(store, 1, 300, size=50)
    segments = layout.Layout(tmp_path).segments
    until(lambda: sum(segment.path.stat().st_size for segment in segments()) > 0, "the write")
    assert store.durable == began
    assert stored(store) == sent
    assert store.flush()
    assert store.durable == began + 300
    assert stored(store) == sent
    store.close()
