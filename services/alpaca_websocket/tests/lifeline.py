# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets what a test, a demonstration or a benchmark has started end with it, however that ends.

    lifeline.py DESCRIPTOR -m MODULE ARGUMENT…      the Python program itself, in this process
    lifeline.py DESCRIPTOR SCRIPT.py ARGUMENT…
    lifeline.py DESCRIPTOR -- PROGRAM ARGUMENT…     any program, as a child with a process group of its own

Whoever starts it holds the other end of a pipe and never writes. When that process is gone, the kernel closes the pipe,
also after `kill -9`; a thread that reads it then ends this process, at once. Works wherever there are pipes.
SIGQUIT ends a Python program that hangs, and writes where each of its threads stands to standard error.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def _pipe() -> tuple[int, int]:
    """One for all children of this process. Only the reading end is inherited, where it is passed on."""
    return os.pipe()


def spawn(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Starts a Python program: `-m MODULE …` or `SCRIPT.py …`. The options are Popen's."""
    reading, _writing = _pipe()
    command = [sys.executable, __file__, str(reading), *arguments]
    return subprocess.Popen(command, text=True, pass_fds=(reading,), **options)


def _watch(descriptor: int, end: Callable[[], None]) -> None:
    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(descriptor, 4096):
                pass
        end()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def _program(descriptor: int, command: list[str]) -> int:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(*_signal: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    _watch(descriptor, end)
    return process.wait()


def main() -> int:
    descriptor, (first, *rest) = int(sys.argv[1]), sys.argv[2:]
    if first == "--":
        return _program(descriptor, rest)
    _watch(descriptor, lambda: os.kill(os.getpid(), signal.SIGKILL))
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell's background jobs ignore it, and hand that down
    faulthandler.register(signal.SIGQUIT, chain=True)
    # As Python itself would: nothing of this folder on the path, but for what PYTHONPATH says.
    del sys.path[0]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
        runpy.run_path(first, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
