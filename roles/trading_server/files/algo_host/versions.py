# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environments of the trading code: which one is current, which was before, and which are removed."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import NotYet, Refused
from .places import Places, link

COMPLETE = "complete"
CURRENT, PREVIOUS = "current", "previous"


def use(places: Places, name: str) -> dict[str, Any]:
    """Make an installed environment the current one, and remove those that nobody needs.

    Kept are the current one, the one before, and all that a process still runs from. Whatever an earlier call or an
    interrupted installation left is removed too.

    :raises Refused: if it is not completely installed; then nothing is changed
    :raises NotYet: if something could not be removed
    """
    code = places.code
    if Path(name).name != name or not (code / name / COMPLETE).is_file():
        raise Refused(f"{code / name} is not installed. Run the install phase of the role trading_server.")
    before = _target(code / CURRENT)
    if before != name:
        if (code / before / COMPLETE).is_file():
            link(code / PREVIOUS, before)
        link(code / CURRENT, name)
    kept = {name, _target(code / PREVIOUS)}
    removed = [each for each in sorted(_names(code) - kept) if not _runs(places.root / "proc", code / each)]
    for each in removed:
        _remove(code, each)
    return {
        "current": name,
        "previous": _target(code / PREVIOUS),
        "removed": removed,
        "changed": before != name or bool(removed),
    }


def _target(path: Path) -> str:
    """The name that a link leads to; empty for none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _names(code: Path) -> set[str]:
    """Everything that was installed, also in part, and what is left of what was removed in part."""
    folders = {path.name for path in code.iterdir() if path.is_dir() and not path.is_symlink()}
    return folders | {path.stem for path in code.glob("*.txt")}


def _remove(code: Path, name: str) -> None:
    try:
        # First: half a folder must not be taken for an environment.
        (code / name / COMPLETE).unlink(missing_ok=True)
        if (code / name).exists():
            shutil.rmtree(code / name)
        (code / f"{name}.txt").unlink(missing_ok=True)
    except OSError as error:
        raise NotYet(f"The trading code {code / name}, which nobody uses, cannot be removed: {error}") from error


def _runs(proc: Path, folder: Path) -> bool:
    """Whether a process was started from a folder, or has loaded something of it."""
    wanted = os.fsencode(folder) + b"/"
    return any(wanted in told for told in _told(proc))


def _told(proc: Path) -> Iterator[bytes]:
    for process in proc.glob("[0-9]*"):
        for name in ("cmdline", "maps"):
            with contextlib.suppress(OSError):  # it has just ended
                yield (process / name).read_bytes()
