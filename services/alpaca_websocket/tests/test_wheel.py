# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel as a host installs it: complete, and with the dependencies that are tested."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import flit_core.buildapi
import pytest

SERVICE = Path(__file__).parents[1]
ROOT = SERVICE.parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SERVICE)
        return out / str(flit_core.buildapi.build_wheel(str(out)))


def test_it_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "src"], cwd=SERVICE, capture_output=True, text=True, check=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name and "__pycache__" not in name}
    assert {name.removeprefix("src/") for name in tracked} <= inside
    brought = {name.partition(".data/data/share/alpaca-websocket/")[2] for name in inside if ".data/" in name}
    assert brought == {"alpaca-websocket.service", "requirements-python3.11.txt", "requirements-python3.12.txt"}
    assert all(name.startswith("alpaca_websocket/") for name in inside if ".data/" not in name)
    assert any(name.endswith(".html") for name in inside)


def test_it_runs_from_the_wheel_alone(wheel: Path) -> None:
    """Installed without pip: a wheel is a zip, and Python imports from it."""
    code = f"import sys; sys.path.insert(0, {str(wheel)!r}); from alpaca_websocket.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-I", "-c", code, "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version = tomllib.loads((SERVICE / "pyproject.toml").read_text())["project"]["version"]
    assert done.stdout.strip() == version


def test_its_dependencies_are_the_ones_that_are_pinned() -> None:
    named = tomllib.loads((SERVICE / "pyproject.toml").read_text())["project"]["dependencies"]
    named = {re.split(r"[><=; ]", text)[0] for text in named}
    listed = {line for line in (ROOT / "requirements" / "service.in").read_text().splitlines() if line[:1] not in "#"}
    assert named == listed
    for name in named:
        assert metadata.version(name)


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_the_versions_that_it_brings_are_tested_ones_with_hashes(python: str) -> None:
    tested = pins(ROOT / f"requirements/python{python}.txt") | pins(ROOT / f"requirements/python{python}-dev.txt")
    lock = SERVICE / f"data/share/alpaca-websocket/requirements-python{python}.txt"
    assert pins(lock)
    assert pins(lock) <= tested
    for block in re.split(r"\n(?=[a-z0-9])", lock.read_text())[1:]:
        assert "--hash=sha256:" in block, block


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^[a-z0-9][\w.-]*==\S+", lock.read_text(), re.MULTILINE))
