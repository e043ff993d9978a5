# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep on disk, from one run to the next, what is worked out of installed files, as Python does with bytecode.

The files lie in Ansible's own folder (``ANSIBLE_HOME``, ``~/.ansible``), where it takes plugins from too. One that is
damaged, or that somebody else may write, counts as missing; nothing depends on them but time.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import stat
import sys
import tempfile
import time
import zlib
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.utils.display import Display

display = Display()

_CHECKSUM = 4  # bytes
# Those of other versions and installations, once they are not used any more.
_UNUSED_DAYS = 30


class Kept:
    """A dictionary of what ``marshal`` can hold.

    :param name: what it holds.
    :param made_with: everything that the contents depend on besides their keys, such as versions.
    """

    def __init__(self, name: str, *made_with: str) -> None:
        digest = hashlib.sha256(repr((sys.version, MAGIC_NUMBER, sys.flags.optimize, made_with)).encode()).hexdigest()
        self._name = name
        self._path = Path(C.config.get_config_value("ANSIBLE_HOME")) / "algo_trading" / f"{name}-{digest[:16]}"

    def load(self) -> dict[Any, Any]:
        """What was saved last; nothing where that cannot be used."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise OSError(f"others may write {self._path}")
                data = file.read()
            if zlib.crc32(data[_CHECKSUM:]) != int.from_bytes(data[:_CHECKSUM], "big"):
                raise ValueError(f"{self._path} is damaged")
            found = marshal.loads(data[_CHECKSUM:])  # noqa: S302 - a file of ours, as bytecode is
            return found if isinstance(found, dict) else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, EOFError, TypeError) as error:
            display.vvv(f"What was kept of {self._name} is made anew: {error}")
            return {}

    def save(self, content: dict[Any, Any]) -> None:
        """Replace what is there, in one go."""
        try:
            data = marshal.dumps(content)
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._name}-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(zlib.crc32(data).to_bytes(_CHECKSUM, "big") + data)
                Path(name).replace(self._path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._remove_unused()
        except (OSError, ValueError) as error:
            display.vvv(f"{self._name} could not be kept: {error}")

    def _remove_unused(self) -> None:
        before = time.time() - _UNUSED_DAYS * 86_400
        for path in self._path.parent.iterdir():
            status = path.stat()
            if max(status.st_atime, status.st_mtime) < before:
                path.unlink(missing_ok=True)
