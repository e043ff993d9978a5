# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same source gives the same bytes, and nothing goes in that should not."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from ansible_collections.algo.trading.plugins.module_utils.lambda_package import (
    PackageError,
    Source,
    build,
    manifest_of,
    write,
)


def make_tree(folder: Path, names: list[str], mode: int = 0o644, mtime: int = 1_700_000_000) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
        path.chmod(mode)
        os.utime(path, (mtime, mtime))
    return folder


NAMES = ["b.py", "a/__init__.py", "a/z.py", "data.json"]


def test_order_times_and_permissions_of_the_files_do_not_matter(tmp_path: Path) -> None:
    one = build([Source(path=make_tree(tmp_path / "one", NAMES), archive_path="pkg")])
    other = build([Source(path=make_tree(tmp_path / "other", NAMES[::-1], 0o700, 1_000_000_000), archive_path="pkg")])
    assert one.data == other.data
    assert list(one.files) == ["pkg/a/__init__.py", "pkg/a/z.py", "pkg/b.py", "pkg/data.json"]


def test_every_entry_is_readable_by_all_and_as_old_as_zips_get(tmp_path: Path) -> None:
    package = build([Source(path=make_tree(tmp_path, NAMES, 0o700))])
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.testzip() is None
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert stat.S_IMODE(entry.external_attr >> 16) == 0o644
            assert entry.compress_type == zipfile.ZIP_STORED


def test_one_changed_byte_gives_another_digest(tmp_path: Path) -> None:
    make_tree(tmp_path, NAMES)
    before = build([Source(path=tmp_path)])
    (tmp_path / "b.py").write_text("# b.py!\n")
    assert build([Source(path=tmp_path)]).sha256 != before.sha256


def test_the_digest_is_given_as_lambda_reports_it(tmp_path: Path) -> None:
    package = build([Source(content="x", archive_path="x.txt")])
    assert base64.b64decode(package.code_sha256) == hashlib.sha256(package.data).digest()
    assert package.sha256 == hashlib.sha256(package.data).hexdigest()


def test_compiled_hidden_and_excluded_files_stay_out(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        ["keep.py", "keep.pyc", "__pycache__/keep.cpython-311.pyc", ".env", ".git/config", "tests/t.py", "x/y.md"],
    )
    package = build([Source(path=tmp_path, exclude=("tests", "x/*.md"))])
    assert list(package.files) == ["keep.py"]


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    inside = make_tree(tmp_path / "inside", ["keep.py"])
    make_tree(tmp_path / "outside", ["secret.py"])
    (inside / "loop").symlink_to(tmp_path / "outside")
    assert list(build([Source(path=inside)]).files) == ["keep.py"]


def test_a_file_keeps_its_name_or_takes_a_given_one(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a.py"])
    path = tmp_path / "a.py"
    assert list(build([Source(path=path), Source(path=path, archive_path="x/b.py")]).files) == ["a.py", "x/b.py"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.py", "a/../../b.py", ""])
def test_an_archive_path_stays_within(name: str) -> None:
    with pytest.raises(PackageError, match="must be relative"):
        build([Source(content="x", archive_path=name)])


def test_two_contents_for_one_path_are_refused_and_equal_ones_are_not() -> None:
    build([Source(content="x", archive_path="a.py"), Source(content="x", archive_path="a.py")])
    with pytest.raises(PackageError, match=r"different contents for a\.py"):
        build([Source(content="x", archive_path="a.py"), Source(content="y", archive_path="a.py")])


def test_an_empty_package_or_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="empty"):
        build([Source(path=tmp_path)])
    with pytest.raises(PackageError, match="neither a file nor a folder"):
        build([Source(path=tmp_path / "missing")])


def test_writing_twice_leaves_the_file_alone_and_no_rests(tmp_path: Path) -> None:
    package = build([Source(content="x", archive_path="a.py")])
    dest = tmp_path / "deep" / "down" / "p.zip"
    assert write(package, dest) is True
    inode = dest.stat().st_ino
    assert write(package, dest) is False
    assert dest.stat().st_ino == inode
    assert list(dest.parent.iterdir()) == [dest]
    assert manifest_of(dest) == dict(package.files)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"cannot write .*p\.zip"):
        write(build([Source(content="x", archive_path="a.py")]), tmp_path / "file" / "p.zip")


def test_something_else_at_the_destination_has_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "p.zip").write_text("no zip")
    assert manifest_of(tmp_path / "p.zip") == {}
    assert manifest_of(tmp_path / "missing.zip") == {}
