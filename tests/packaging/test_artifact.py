"""The built collection has what its users need at run time, and nothing of the project around it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
# What ansible-doc has no page for: actions are documented by their modules, the others are libraries.
_NO_PAGES = {"action", "doc_fragments", "module_utils", "plugin_utils"}


def galaxy(*args: str | Path) -> None:
    done = subprocess.run([BIN / "ansible-galaxy", "collection", *args], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    galaxy("build", "--output-path", out)
    (built,) = out.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def members(tarball: Path) -> set[str]:
    """Its files, and its links to one of them."""
    with tarfile.open(tarball) as archive:
        files = {member.name for member in archive.getmembers() if member.isfile()}
        links = {member.name: member.linkname for member in archive.getmembers() if member.issym()}
    return files | {name for name, to in links.items() if os.path.normpath(Path(name).parent / to) in files}


def tracked(*paths: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_it_is_named_after_galaxy_yml(tarball: Path) -> None:
    meta = yaml.safe_load((ROOT / "galaxy.yml").read_text())
    assert tarball.name == f"{meta['namespace']}-{meta['name']}-{meta['version']}.tar.gz"


def test_everything_a_role_plugin_or_function_needs_is_in_it(members: set[str]) -> None:
    needed = {name for name in tracked("plugins", "roles", "playbooks", "lambda", "meta", "LICENSE", "tests/unit")}
    needed = {name for name in needed if not any(part.startswith(".") for part in Path(name).parts)}
    assert needed - members == set()


def test_nothing_of_the_project_around_it_is_in_it(members: set[str]) -> None:
    private = ("inventories/", "tests/integration/", "tests/packaging/", "tests/bench/", "tests/e2e/", "examples/")
    private += ("tools/", "requirements/", "molecule/", "collections/", "awx/", "build/", "services/")
    private += (".", "Makefile", "site.yml")
    assert {name for name in members if name.startswith(private)} == set()
    assert not {name for name in members if name.endswith((".pyc", ".tar.gz", ".retry", ".pem"))}


def test_nothing_untracked_got_into_it(members: set[str]) -> None:
    made = {"MANIFEST.json", "FILES.json"}
    extra = {name for name in members - made - tracked() if not _pending(name)}
    assert extra == set()


def _pending(name: str) -> bool:
    """Whether the file is new work that git would take, rather than something ignored that leaked."""
    ignored = subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT)
    return ignored.returncode == 1


def test_every_plugin_is_documented_from_the_installed_copy(tarball: Path, tmp_path: Path) -> None:
    galaxy("install", "--force", "--no-deps", "-p", tmp_path, tarball)
    kinds = [name.replace("modules", "module") for name in sorted(_folders() - _NO_PAGES)]
    assert {"filter", "module"} <= set(kinds)
    for kind in kinds:
        names = [f"algo.trading.{name}" for name in _plugins(kind)]
        docs = ansible_doc(tmp_path, "--json", "-t", kind, *names)
        assert set(docs) == set(names)
        for name, plugin in docs.items():
            doc = plugin["doc"]
            assert doc["short_description"], name
            assert plugin.get("examples") or kind in {"callback", "vars"}, f"{name} has no examples"


def test_every_action_has_the_page_of_a_module() -> None:
    assert set(_plugins("action")) <= set(_plugins("module"))


def test_every_role_s_arguments_are_documented(tarball: Path, tmp_path: Path) -> None:
    galaxy("install", "--force", "--no-deps", "-p", tmp_path, tarball)
    roles = {path.parents[1].name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")}
    if not roles:
        pytest.skip("there are no roles with arguments yet")
    docs = ansible_doc(tmp_path, "--json", "-t", "role", *sorted(f"algo.trading.{role}" for role in roles))
    assert set(docs) == {f"algo.trading.{role}" for role in roles}


def ansible_doc(collections: Path, *args: str) -> dict[str, Any]:
    done = subprocess.run(
        [BIN / "ansible-doc", *args],
        cwd=collections,
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(collections),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "LC_ALL": "C.UTF-8",
        },
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    assert loaded, done.stderr
    return loaded


def _folders() -> set[str]:
    return {Path(name).parts[1] for name in tracked("plugins")}


def _plugins(kind: str) -> list[str]:
    folder = ROOT / "plugins" / {"module": "modules"}.get(kind, kind)
    files = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if kind not in {"filter", "test"}:
        return files
    # One file has several, and each has a page of its own.
    loaded = [importlib.import_module(f"ansible_collections.algo.trading.plugins.{kind}.{name}") for name in files]
    if kind == "filter":
        return sorted(name for module in loaded for name in module.FilterModule().filters())
    return sorted(name for module in loaded for name in module.TestModule().tests())
