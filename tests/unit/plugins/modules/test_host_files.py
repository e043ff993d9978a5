# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it: a process of its own, with its arguments as JSON."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.modules import host_files

OWN = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}


def run(check: bool = False, **given: Any) -> dict[str, Any]:
    arguments = {**OWN, **given, "_ansible_check_mode": check}
    done = subprocess.run(
        [sys.executable, str(host_files.__file__)],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_it_foretells_then_does_then_leaves_alone(tmp_path: Path) -> None:
    folder, path = tmp_path / "a" / "b", tmp_path / "a" / "b" / "settings"
    given = {"directories": [str(folder)], "files": [{"path": str(path), "content": "ä\n", "mode": "0600"}]}
    told = run(check=True, **given)
    assert (told["changed"], told["paths"]) == (True, [str(folder), str(path)])
    assert [(each["before"], each["after"]) for each in told["diff"]] == [("", "ä\n")]
    assert not folder.parent.exists()
    assert run(**given)["paths"] == told["paths"]
    assert path.read_text() == "ä\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o755
    again = run(**given)
    assert (again["changed"], again["paths"], again["diff"]) == (False, [], [])
    assert [each.name for each in folder.iterdir()] == ["settings"]


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    same, other = tmp_path / "same", tmp_path / "other"
    files = [{"path": str(same), "content": "1"}, {"path": str(other), "content": "2"}]
    run(files=files)
    inode = same.stat().st_ino
    other.write_text("changed by somebody")
    found = run(files=files)
    assert (found["paths"], [each["before"] for each in found["diff"]]) == ([str(other)], ["changed by somebody"])
    assert (other.read_text(), same.stat().st_ino) == ("2", inode)
    same.chmod(0o666)
    assert run(check=True, files=files)["paths"] == [str(same)]
    assert run(files=files)["paths"] == [str(same)]
    assert same.stat().st_mode & 0o777 == 0o644


def test_nothing_is_written_if_one_of_them_is_refused(tmp_path: Path) -> None:
    files = [
        {"path": str(tmp_path / "first"), "content": "1"},
        {"path": str(tmp_path / "second"), "content": "wrong", "check": "grep right %s"},
    ]
    failed = run(directories=[str(tmp_path / "folder")], files=files)
    assert failed["failed"] is True
    assert "second: 'grep right %s' refuses its new content. Nothing was changed" in failed["msg"]
    assert list(tmp_path.iterdir()) == []
    files[1]["content"] = "right"
    assert run(files=files)["changed"] is True


def test_a_link_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    other, link = tmp_path / "other", tmp_path / "link"
    other.write_text("1")
    link.symlink_to(other)
    assert run(files=[{"path": str(link), "content": "1"}])["paths"] == [str(link)]
    assert not link.is_symlink()
    assert other.read_text() == "1"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"files": [{"path": "etc/x", "content": ""}]}, "must be absolute and named once"),
        ({"directories": ["etc"]}, "must be absolute and named once"),
        ({"files": [{"path": "{tmp}/x", "content": ""}] * 2}, "must be absolute and named once"),
        ({"files": [{"path": "{tmp}/folder", "content": ""}]}, "A file is in the place of a directory"),
        ({"directories": ["{tmp}/file"]}, "A file is in the place of a directory"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: Any, told: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    failed = run(**json.loads(json.dumps(given).replace("{tmp}", str(tmp_path))))
    assert told in failed["msg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
