# Copyright: the algo.trading authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that others read while we write them, flags, and the lock of the one process that trades a model."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HALT, DRAIN, HEALTH, STATE, LOCK = "halt", "drain", "health.json", "state.json", "lock"


def replace(path: Path, value: dict[str, Any], *, durable: bool = False) -> None:
    """Atomically; `durable`: it is on the disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    with draft.open("w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        if durable:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: Path) -> dict[str, Any] | None:
    """Nothing if there is no such file; ValueError if it is no JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not a JSON object")
    return found


def raise_flag(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def lower_flag(path: Path) -> None:
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[bool]:
    """Whether this process has it; it ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
