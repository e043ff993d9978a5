# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which environments a project has: each is a folder under ``inventories/`` with settings of its own."""

from __future__ import annotations

from pathlib import Path

FOLDER = "inventories"


def settings_files(inventory: Path) -> list[Path]:
    """The files with an environment's settings, in the order in which they win."""
    folder = inventory / "group_vars" / "all"
    return sorted(folder.glob("*.yml")) if folder.is_dir() else []


def environments(inventories: Path) -> list[str]:
    """The names of the environments whose inventories stand in a folder."""
    if not inventories.is_dir():
        return []
    return sorted(
        folder.name for folder in inventories.iterdir() if (folder / "group_vars" / "all" / "settings.yml").is_file()
    )
