# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which environments of the trading code stay on a host."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from algo_host import versions
from algo_host.errors import NotYet, Refused
from algo_host.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path)
    made.code.mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    return made


def install(places: Places, *names: str) -> None:
    for name in names:
        (places.code / name / "bin").mkdir(parents=True)
        (places.code / name / versions.COMPLETE).touch()
        (places.code / f"{name}.txt").touch()


def there(places: Places) -> set[str]:
    return {path.name for path in places.code.iterdir() if not path.is_symlink()}


def run(places: Places, number: str, cmdline: str = "", maps: str = "") -> None:
    process = places.root / "proc" / number
    process.mkdir()
    (process / "cmdline").write_text(cmdline)
    (process / "maps").write_text(maps)


def test_the_current_one_and_the_one_before_stay(places: Places) -> None:
    for number, name in enumerate(("1.0-a", "1.0-b", "2.0-c")):
        install(places, name)
        used = versions.use(places, name)
        assert used["changed"] is True
        assert os.readlink(places.code / "current") == name
        assert used["removed"] == (["1.0-a"] if number == 2 else [])
    assert there(places) == {"1.0-b", "1.0-b.txt", "2.0-c", "2.0-c.txt"}
    assert os.readlink(places.code / "previous") == "1.0-b"
    again = versions.use(places, "2.0-c")
    assert (again["changed"], again["previous"]) == (False, "1.0-b")


def test_going_back_keeps_what_was_left(places: Places) -> None:
    install(places, "1.0-a")
    versions.use(places, "1.0-a")
    install(places, "2.0-b")
    versions.use(places, "2.0-b")
    versions.use(places, "1.0-a")
    install(places, "3.0-c")
    used = versions.use(places, "3.0-c")
    assert (used["previous"], used["removed"]) == ("1.0-a", ["2.0-b"])


def test_what_a_process_runs_from_or_has_loaded_stays_until_it_ends(places: Places) -> None:
    install(places, "1.0-a")
    versions.use(places, "1.0-a")
    run(places, "10", cmdline=f"{places.code}/1.0-a/bin/python3\0run\0")
    for name in ("1.0-b", "1.0-c"):
        install(places, name)
        assert versions.use(places, name)["removed"] == []
    run(places, "11", maps=f"7f00-7f01 r-xp 0 00:1 2 {places.code}/1.0-b/lib/x.so\n")
    install(places, "1.0-d")
    assert versions.use(places, "1.0-d")["removed"] == []
    shutil.rmtree(places.root / "proc" / "10")
    assert versions.use(places, "1.0-d")["removed"] == ["1.0-a"]
    # One name that begins like another is another.
    install(places, "1.0")
    assert versions.use(places, "1.0-d")["removed"] == ["1.0"]
    assert (places.code / "1.0-b").is_dir()


def test_what_a_crash_left_is_removed(places: Places) -> None:
    install(places, "1.0-a")
    versions.use(places, "1.0-a")
    (places.code / "0.9-x").mkdir()  # an installation that was interrupted
    (places.code / "0.8-y.txt").touch()  # a removal that was
    used = versions.use(places, "1.0-a")
    assert (used["removed"], used["changed"]) == (["0.8-y", "0.9-x"], True)
    assert there(places) == {"1.0-a", "1.0-a.txt"}


def test_one_that_is_not_complete_is_refused_and_nothing_changes(places: Places) -> None:
    install(places, "1.0-a", "1.0-b")
    versions.use(places, "1.0-a")
    (places.code / "2.0-c").mkdir()
    before = there(places)
    for name in ("2.0-c", "3.0-d", "../trader", ""):
        with pytest.raises(Refused, match="is not installed"):
            versions.use(places, name)
    assert there(places) == before
    assert os.readlink(places.code / "current") == "1.0-a"


def test_what_cannot_be_removed_is_named(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    install(places, "1.0-a", "1.0-b")

    def refuse(path: Path) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(NotYet, match=r"1\.0-b, which nobody uses, cannot be removed"):
        versions.use(places, "1.0-a")
    assert not (places.code / "1.0-b" / versions.COMPLETE).exists()
