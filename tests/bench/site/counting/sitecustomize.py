# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts the processes that Python programs start: this directory comes first in PYTHONPATH, so Python imports it.

Each fork and each started program is a line of the file that BENCH_PROCESSES names. The interpreters among them import
this too, so the whole tree is counted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

_path = os.environ.get("BENCH_PROCESSES")
if _path:
    _file = os.open(_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _forked() -> None:
        os.write(_file, b"fork\n")

    def _audit(event: str, arguments: tuple[Any, ...]) -> None:
        # subprocess starts programs in C code, where no fork handler is called.
        if event == "subprocess.Popen":
            name = os.path.basename(os.fsdecode(arguments[0] or arguments[1][0]))
            os.write(_file, f"program:{name}\n".encode())

    os.register_at_fork(after_in_parent=_forked)
    sys.addaudithook(_audit)
