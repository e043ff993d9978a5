# SPDX-License-Identifier: GPL-3.0-or-later
"""Power loss, from a recording of what the journal wrote and what it had synced.

After each system call that changes the disk, the recording knows what is safe: contents up to the last fdatasync of a
file, names up to the last fsync of the directory. Everything else may be there, be lost, be zeros or be garbage.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from alpaca_websocket.protocol import Message, Messages
from alpaca_websocket.store import StoreSettings, journal
from alpaca_websocket.store.journal import Journal
from alpaca_websocket.store.layout import Layout, sync_directory
from alpaca_websocket.store.records import messages, scan
from alpaca_websocket.store.recovery import recover
from store_kit import numbered

SECTOR = 512
FIRST = 1


class Moment(NamedTuple):
    """The disk after one system call: names → inode, as they are and as they are safe; inode → bytes written, safe."""

    names: dict[str, int]
    safe_names: dict[str, int]
    written: dict[int, int]
    safe: dict[int, int]
    acknowledged: int


class Recorder:
    """Stands between the journal and `os`; the calls are made."""

    def __init__(self, folder: Path, keep: Path) -> None:
        self.folder, self.keep = folder, keep
        self.moments: list[Moment] = []
        self.safe_names: dict[str, int] = {}
        self.safe: dict[int, int] = {}
        self.journal: Journal | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o640) -> int:
        descriptor = os.open(path, flags, mode)
        inode = os.fstat(descriptor).st_ino
        os.link(path, self.keep / str(inode))  # contents stay readable, whatever becomes of the name
        self.moment()
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        # In pieces, as a disk takes them.
        count = os.write(descriptor, data[: random.randint(1, 3 * SECTOR)])
        self.moment()
        return count

    def writev(self, descriptor: int, pieces: list[bytes]) -> int:
        return self.write(descriptor, memoryview(b"".join(pieces)))

    def fdatasync(self, descriptor: int) -> None:
        self.moment()
        os.fdatasync(descriptor)
        status = os.fstat(descriptor)
        self.safe[status.st_ino] = status.st_size
        self.moment()

    def sync_directory(self, path: Path) -> None:
        self.moment()
        sync_directory(path)
        self.safe_names = self.names()
        self.moment()

    def names(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self.folder)}

    def moment(self) -> None:
        written = {int(path.name): path.stat().st_size for path in self.keep.iterdir()}
        acknowledged = self.journal.durable if self.journal else FIRST - 1
        self.moments.append(Moment(self.names(), dict(self.safe_names), written, dict(self.safe), acknowledged))

    def disk_after(self, moment: Moment, target: Path, chance: random.Random) -> None:
        """One of the states that a power loss at this moment may leave."""
        target.mkdir()
        names = chance.choice([moment.names, moment.safe_names])
        for name, inode in names.items():
            content = (self.keep / str(inode)).read_bytes()
            safe = moment.safe.get(inode, 0)
            data = bytearray(content[: max(safe, chance.randint(0, moment.written.get(inode, 0)))])
            for at in range(safe, len(data), SECTOR):
                piece = slice(max(at, safe), min(at + SECTOR, len(data)))
                size = piece.stop - piece.start
                data[piece] = chance.choice([data[piece], data[piece], bytes(size), chance.randbytes(size)])
            (target / name).write_bytes(data)


@pytest.fixture(scope="module", params=[False, True], ids=["written at the commit", "written ahead of it"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    root = tmp_path_factory.mktemp("recorded")
    layout, keep = Layout(root / "store"), root / "keep"
    layout.create()
    keep.mkdir()
    recorder = Recorder(layout.journal, keep)
    chance = random.Random(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "os", recorder)
        patch.setattr(journal, "sync_directory", recorder.sync_directory)
        patch.setattr(journal, "RECORD_BATCHES", 1)  # several records in a commit, as there are in a large one
        if request.param:
            patch.setattr(journal, "_AHEAD_ROWS", 1)
        milliseconds = 12 if request.param else 1
        settings = StoreSettings(
            directory=str(layout.root), commit_milliseconds=milliseconds, segment_bytes=9_000, min_free_bytes=0
        )
        writer = recorder.journal = Journal(layout, settings, FIRST, clock=time, on_sealed=lambda: None)
        number = FIRST
        for _ in range(60):
            committed = threading.Event()
            writer.on_durable(lambda _, committed=committed: committed.set())  # type: ignore[misc]
            for _ in range(chance.randint(1, 4)):
                size = chance.randint(1, 12)
                writer.append(Messages.of([numbered(number + i) for i in range(size)]), number)
                number += size
                if request.param:
                    time.sleep(0.004)
            assert committed.wait(60)
        writer.close()
    assert len(layout.segments()) > 3
    return recorder


@pytest.mark.parametrize("part", range(4))
def test_what_was_acknowledged_survives_and_nothing_is_twice(recorded: Recorder, tmp_path: Path, part: int) -> None:
    moments = recorded.moments
    torn = 0
    chance = random.Random(part)
    for index in chance.sample(range(len(moments)), min(100, len(moments))):
        moment = moments[index]
        layout = Layout(tmp_path / str(index))
        layout.root.mkdir()
        recorded.disk_after(moment, layout.journal, chance)
        report = recover(layout, 1_000)
        found: list[Message] = []
        for segment in layout.segments():
            assert segment.last is not None
            for record in scan(segment.path, segment.first):
                assert record.first == FIRST + len(found)
                found += messages(record.payload)
        assert found == [numbered(FIRST + i) for i in range(len(found))]
        assert len(found) >= moment.acknowledged
        assert report.next_sequence == FIRST + len(found) or not found
        assert not any(segment.missing for segment in report.segments)
        torn += any(segment.cut_bytes for segment in report.segments)
    assert torn > 10, "the recording must hold torn writes"
