# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.algo.trading.plugins.module_utils.images import (
    content_digest,
    images_to_remove,
    release_with_image,
)

RELEASE = """\
---
# Only what is promoted.
algo_release:
  images:
    host: /aws/service/debian/release/12/latest/arm64  # the source
    gpu: ami-00000001
  algo_modeling: 2.0.0
"""


def test_the_digest_is_that_of_names_contents_and_values(tmp_path: Path) -> None:
    folder, wheel = tmp_path / "role", tmp_path / "a.whl"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "main.yml").write_text("one")
    wheel.write_bytes(b"code")

    def digest(**facts: object) -> str:
        return content_digest([folder, tmp_path / "none"], {"wheel": str(wheel), **facts})

    first = digest(version="1")
    assert digest(version="1") == first
    assert digest(version="2") != first
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert digest(version="1") == first
    wheel.write_bytes(b"other code")
    assert digest(version="1") != first
    wheel.write_bytes(b"code")
    (folder / "tasks" / "main.yml").rename(folder / "tasks" / "other.yml")
    assert digest(version="1") != first


def test_two_parts_never_read_as_one() -> None:
    assert content_digest([], {"a": "b", "c": "d"}) != content_digest([], {"a": 'b"1 c 3 "d'})


IMAGES = [{"image_id": f"ami-0{day}", "creation_date": f"2026-01-0{day}T00:00:00.000Z"} for day in (3, 1, 5, 2, 4)]


@pytest.mark.parametrize(
    ("keep", "used", "removed"),
    [
        (5, "", []),
        (2, "", ["ami-01", "ami-02", "ami-03"]),
        (2, '{"fleet": {"image_id": "ami-02"}}', ["ami-01", "ami-03"]),
        (2, "ami-0", ["ami-01", "ami-02", "ami-03"]),
        (0, "ami-05 ami-04 ami-03", ["ami-01", "ami-02"]),
    ],
)
def test_old_images_go_unless_something_names_them(keep: int, used: str, removed: list[str]) -> None:
    assert images_to_remove(IMAGES, keep, used) == removed


def test_a_release_gets_an_image_and_keeps_its_other_lines() -> None:
    added = release_with_image(RELEASE, "trading_server", "ami-0a")
    assert added == RELEASE.replace("ami-00000001\n", "ami-00000001\n    trading_server: ami-0a\n")
    assert release_with_image(added, "trading_server", "ami-0b") == added.replace("ami-0a", "ami-0b")
    assert release_with_image(added, "trading_server", "ami-0a") == added
    assert release_with_image(RELEASE, "gpu", "ami-0c") == RELEASE.replace("ami-00000001", "ami-0c")


def test_a_release_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="no algo_release"):
        release_with_image("algo_release: {}\n", "host", "ami-0a")
