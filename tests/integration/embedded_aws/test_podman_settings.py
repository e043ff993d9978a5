"""podman's settings are written again when the first database is made, while podman runs for others."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
from embedded_aws.hosts import image
from embedded_aws.hosts.enclosure import Enclosure

FILES = ("storage.conf", "containers.conf")


def test_nobody_reads_half_of_them(tmp_path: Path) -> None:
    enclosure = Enclosure(tmp_path)
    stores = (tmp_path / "base",), (tmp_path / "base", tmp_path / "postgresql")

    def read() -> set[tuple[str, str]]:
        return {(name, (tmp_path / name).read_text()) for name in FILES}

    whole = set()
    for kept in stores:
        image.configure(enclosure, tmp_path / "storage", *kept)
        whole |= read()
    assert len(whole) == 3  # only the stores differ

    def write() -> None:
        for turn in range(500):
            image.configure(enclosure, tmp_path / "storage", *stores[turn % 2])

    writing = threading.Thread(target=write)
    writing.start()
    found = set()
    while writing.is_alive():
        found |= read()
    assert found <= whole
    assert len(found) == 3
