"""Builds the wheel of the example's trading code, and prints its path, version and SHA-256 as JSON.

The same sources make the same wheel, byte by byte, and are built once: .cache/trading-code keeps it by their content.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "examples" / "algo-modeling-v2"
CACHE = ROOT / ".cache" / "trading-code"
_KEPT = 3
# The earliest time that a zip can hold.
_TIME = "315532800"


def sources() -> list[Path]:
    project = [SOURCE / "pyproject.toml", SOURCE / "README.md", *sorted(SOURCE.glob("requirements-*.txt"))]
    return project + sorted(path for name in ("algo_modeling", "algo_trader") for path in (SOURCE / name).glob("*.py"))


def build() -> Path:
    content = hashlib.sha256(sys.version.encode())
    for path in sources():
        content.update(f"{path.relative_to(SOURCE)}\0".encode() + path.read_bytes())
    kept = CACHE / content.hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            _make(kept)
    (wheel,) = kept.glob("*.whl")
    return wheel


def _make(kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        for path in sources():  # setuptools writes beside what it builds
            copy = Path(work) / "source" / path.relative_to(SOURCE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check",
                   "--no-input", "--wheel-dir", f"{work}/made", f"{work}/source"]  # fmt: skip
        done = subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": _TIME}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"The trading code cannot be built: {done.stderr.strip()[-1500:]}")
        Path(work, "made").rename(kept)
    old = sorted((path for path in CACHE.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in old[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    wheel = build()
    version = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]["version"]
    print(
        json.dumps({"path": str(wheel), "version": version, "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()})
    )


if __name__ == "__main__":
    main()
