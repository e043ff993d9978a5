"""A file of a collection is compiled once, for this run and the next ones, and again when its text has changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from ansible import constants as C
from ansible_collections.algo.trading.plugins.plugin_utils import warm_imports

loader = pytest.importorskip("ansible.utils.collection_loader._collection_finder")._AnsibleCollectionPkgLoaderBase
NAME = "ansible_collections.algo.trading.plugins.module_utils._tags"


def code_of(name: str) -> CodeType:
    """As an import gets it, with a loader of its own."""
    imported = sys.modules.pop(name, None)
    spec = find_spec(name)
    if imported is not None:
        sys.modules[name] = imported
    assert spec is not None
    code: CodeType = spec.loader.get_code(name)  # type: ignore[union-attr]
    return code


@pytest.fixture
def next_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], list[str]]:
    """Begins a run that knows only what was kept; returns how often the file is compiled in it, by name."""
    monkeypatch.setattr(C.config, "get_config_value", lambda name: str(tmp_path))
    original = getattr(loader.get_code, "uncached", loader.get_code)

    def begin() -> list[str]:
        compiled: list[str] = []

        def get_code(self: Any, fullname: str) -> Any:
            if fullname == NAME:  # packages without a text of their own come by as well
                compiled.append(fullname)
            return original(self, fullname)

        monkeypatch.setattr(loader, "get_code", get_code)
        monkeypatch.setattr(warm_imports, "_codes", {})
        monkeypatch.setattr(warm_imports, "_new", False)
        warm_imports.share()
        return compiled

    return begin


def test_a_file_is_compiled_once_for_all_runs(next_run: Callable[[], list[str]]) -> None:
    compiled = next_run()
    codes = [code_of(NAME), code_of(NAME)]
    assert codes[0] is codes[1]
    assert compiled == [NAME]
    warm_imports.keep()
    compiled = next_run()
    assert code_of(NAME) == codes[0]
    assert compiled == []


def test_a_file_with_another_text_is_compiled_again(
    next_run: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    next_run()
    code_of(NAME)
    warm_imports.keep()
    compiled = next_run()
    monkeypatch.setattr(loader, "get_source", lambda self, fullname: "changed = 1\n")
    assert code_of(NAME).co_names == ("changed",)
    assert compiled == [NAME]


def test_of_files_that_are_gone_nothing_is_kept(next_run: Callable[[], list[str]], tmp_path: Path) -> None:
    next_run()
    code = code_of(NAME)
    warm_imports._codes[str(tmp_path / "gone.py")] = (b"digest", code)
    warm_imports.keep()
    next_run()
    assert set(warm_imports._codes) == {code.co_filename}
