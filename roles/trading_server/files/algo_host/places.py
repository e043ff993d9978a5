# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are on the host, and how files are replaced."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

USER = "algo-trader"
UNIT = "algo-trader.service"
BOOT_UNIT = "algo-first-boot.service"
CREDENTIALS = "broker"


@dataclass(frozen=True)
class Places:
    """The paths; tests give another root."""

    root: Path = Path("/")

    @property
    def fleet(self) -> Path:
        return self.root / "etc/algo-trading/fleet.json"

    @property
    def trader(self) -> Path:
        return self.root / "etc/algo-trading/trader.json"

    @property
    def drop_in(self) -> Path:
        return self.root / f"etc/systemd/system/{UNIT}.d/configured.conf"

    @property
    def credentials(self) -> Path:
        """Root's only; systemd hands it to the unit."""
        return self.own_run / "broker.json"

    @property
    def own_run(self) -> Path:
        """Emptied by a reboot."""
        return self.root / "run/algo-trading"

    @property
    def own_state(self) -> Path:
        return self.root / "var/lib/algo-trading"

    @property
    def models(self) -> Path:
        return self.own_state / "models"

    @property
    def boot_report(self) -> Path:
        return self.own_state / "boot.json"

    @property
    def halts(self) -> Path:
        return self.own_state / "halt.json"

    @property
    def undrained(self) -> Path:
        """Exists from a start of the trader until a drain is confirmed."""
        return self.own_state / "undrained"

    @property
    def failed_drain(self) -> Path:
        """When and why the last drain was not confirmed; until one is."""
        return self.own_state / "failed-drain.json"

    @property
    def run_dir(self) -> Path:
        return self.root / "run/algo-trader"

    @property
    def state_dir(self) -> Path:
        return self.root / "var/lib/algo-trader"

    @property
    def health(self) -> Path:
        return self.run_dir / "health.json"

    @property
    def halt_flag(self) -> Path:
        return self.run_dir / "halt"

    @property
    def code(self) -> Path:
        """A folder for each environment of the trading code."""
        return self.root / "opt/algo-trading/trader"

    @property
    def command(self) -> Path:
        return self.code / "current/bin/algo-trader"

    @contextlib.contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """One at a time, of the same kind."""
        self.own_run.mkdir(parents=True, exist_ok=True, mode=0o755)
        with (self.own_run / f"{what}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def replace(path: Path, text: str, *, mode: int = 0o644, group: str = "") -> bool:
    """Write a file as a whole; returns whether it changed. A link in its place is replaced, not followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    same = False
    if not path.is_symlink() and path.is_file():
        same = path.read_text(encoding="utf-8", errors="replace") == text and path.stat().st_mode & 0o777 == mode
    if same:
        return False
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if group:
            shutil.chown(name, group=group)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return True


def link(path: Path, to: str) -> None:
    """Make a link, or lead it elsewhere, in one step."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(to)
    os.replace(new, path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def as_json(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True) + "\n"
