# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one run of ansible-playbook has changed so far, kept for the verification at its end.

Ansible's workers are processes of their own and share nothing but files. The record lies in the run's own temporary
folder, which all workers know and which Ansible removes when the run ends. A change is noted before it is made, so that
one which fails half-way is noted too.
"""

from __future__ import annotations

from pathlib import Path

from ansible import constants as C


def _path() -> Path:
    return Path(C.DEFAULT_LOCAL_TMP) / "algo-changed-modules"


def begin() -> None:
    """Forget all changes: the environment was read in full."""
    _path().write_text("", encoding="utf-8")


def note(module: str) -> None:
    """Note that this module is about to change something."""
    with _path().open("a", encoding="utf-8") as record:
        record.write(f"{module}\n")


def changed() -> frozenset[str] | None:
    """The modules that have changed something since the environment was read; None if it was not read in this run."""
    try:
        return frozenset(_path().read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return None
