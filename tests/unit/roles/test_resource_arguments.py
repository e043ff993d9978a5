"""What our roles write as settings of a resource, each argument by its name, is known and can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils.resources import STEERING, TYPES

ROLES = Path(__file__).parents[3] / "roles"


def written() -> Iterator[tuple[str, str, str]]:
    """File, module and argument of every setting that is written out in a list of resources."""
    for path in sorted(ROLES.glob("*/tasks/*.yml")):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")) or ():
            given = (task.get("algo.trading.resources") or {}).get("resources")
            yield from entries(f"{path.parents[1].name}/{path.name}", given)
    for path in sorted(ROLES.glob("*/vars/*.yml")):
        for name, value in (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).items():
            if name.endswith("_resources"):
                yield from entries(f"{path.parents[1].name}/{path.name}", value)


def entries(where: str, given: Any) -> Iterator[tuple[str, str, str]]:
    for entry in given if isinstance(given, list) else ():
        if isinstance(entry, dict):
            yield from entries(where, entry.get("block"))
            settings = entry.get("settings")
            if entry.get("module") in TYPES and isinstance(settings, dict):
                yield from ((where, entry["module"], name) for name in settings)


@pytest.mark.parametrize(("where", "module", "name"), list(written()))
def test_an_argument_can_be_compared(where: str, module: str, name: str) -> None:
    kind = TYPES[module]
    assert name in kind.compared | kind.create_only | kind.steering | STEERING, where


def test_the_roles_are_found() -> None:
    assert len({module for _where, module, _name in written()}) > 15
