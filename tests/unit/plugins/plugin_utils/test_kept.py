"""What is kept from run to run is what was saved, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible import constants as C
from ansible_collections.algo.trading.plugins.plugin_utils.kept import Kept

CONTENT = {("a", None, True): compile("1 + 1", "a", "eval"), "b": {"c": ["d"]}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(C.config, "get_config_value", lambda name: str(tmp_path / "home"))
    return tmp_path / "home" / "algo_trading"


def test_what_was_saved_is_loaded_and_belongs_to_the_user_only(home: Path) -> None:
    assert Kept("codes", "1").load() == {}
    Kept("codes", "1").save(CONTENT)
    found = Kept("codes", "1").load()
    assert found == CONTENT
    assert eval(found["a", None, True]) == 2
    [path] = home.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_what_was_made_with_other_versions_counts_as_missing() -> None:
    Kept("codes", "1").save(CONTENT)
    assert Kept("codes", "2").load() == {}
    assert Kept("others", "1").load() == {}


@pytest.mark.parametrize("place", ["first", "middle", "last", "cut", "empty"])
def test_a_damaged_file_counts_as_missing(home: Path, place: str) -> None:
    Kept("codes", "1").save(CONTENT)
    [path] = home.iterdir()
    data = bytearray(path.read_bytes())
    if place in {"cut", "empty"}:
        data = data[: len(data) // 2 if place == "cut" else 0]
    else:
        data[{"first": 0, "middle": len(data) // 2, "last": -1}[place]] ^= 1
    path.write_bytes(data)
    assert Kept("codes", "1").load() == {}
    Kept("codes", "1").save(CONTENT)
    assert Kept("codes", "1").load() == CONTENT


def test_a_file_that_others_may_write_is_not_used(home: Path) -> None:
    Kept("codes", "1").save(CONTENT)
    [path] = home.iterdir()
    path.chmod(0o620)
    assert Kept("codes", "1").load() == {}


def test_where_nothing_can_be_written_nothing_is_kept(home: Path) -> None:
    home.parent.write_text("a file where the folder should be")
    Kept("codes", "1").save(CONTENT)
    assert Kept("codes", "1").load() == {}


def test_what_can_not_be_kept_leaves_what_is_there(home: Path) -> None:
    Kept("codes", "1").save(CONTENT)
    Kept("codes", "1").save({"a": object()})
    assert Kept("codes", "1").load() == CONTENT
    assert len(list(home.iterdir())) == 1


def test_what_nobody_has_used_for_long_is_removed(home: Path) -> None:
    Kept("codes", "old").save(CONTENT)
    [path] = home.iterdir()
    os.utime(path, (0, 0))
    Kept("codes", "new").save(CONTENT)
    assert path not in list(home.iterdir())
    assert Kept("codes", "new").load() == CONTENT
