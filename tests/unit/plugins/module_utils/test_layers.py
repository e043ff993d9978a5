# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the shared code is layered: who may import whom, and what can be imported without amazon.aws and botocore."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.algo.trading.plugins.module_utils import _components

ROOT = Path(_components.__file__).parent
PACKAGE = "ansible_collections.algo.trading.plugins.module_utils"

# From the bottom up. A module imports from layers below its own, and from its own.
LAYERS = (
    ("_components", "_environments", "_errors", "_exchange_days", "_process", "_subnets", "_tags"),
    ("_aws", "_naming", "_policies"),
    (
        "_documents",
        "_schedules",
        "cloudwatch_dashboard",
        "images",
        "lambda_event_invoke",
        "promotion",
        "sessions",
        "trading_day",
    ),
    ("fleet", "models", "_model_listing", "_model_manifest", "resources"),
    ("account", "account_checks", "model_history", "settings", "trading_orders"),
    # For modules of ours. These need amazon.aws.
    ("aws_module", "lambda_package", "lock", "scheduler", "scheduler_group", "ssm_document"),
)
PURE = ("resources", "fleet.engine", "models", "sessions", "trading_day", "account", "account_checks", "settings")


def layer(module: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if module in layer)


def sources() -> Iterator[tuple[str, Path]]:
    """Every file, with the name of the module or package that it belongs to."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).parts[0].removesuffix(".py"), path


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, by their first name; names of other packages as they are."""
    depth = len(path.relative_to(ROOT).parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == depth:
                module = f"{PACKAGE}.{module}".rstrip(".")
            elif node.level:
                continue  # within the package
            inside = module.removeprefix(PACKAGE).lstrip(".")
            if not module.startswith(PACKAGE):
                found.add(module)
            elif inside:
                found.add(inside.split(".")[0])
            else:
                found |= {alias.name for alias in node.names}
    return found


def test_every_module_has_its_layer() -> None:
    modules = {module for module, _path in sources()} - {"__init__", "__pycache__"}
    listed = [module for layer in LAYERS for module in layer]
    assert sorted(listed) == sorted(modules)


def test_no_module_imports_from_a_layer_above_its_own() -> None:
    upward = [
        f"{path.relative_to(ROOT)} imports {other}"
        for module, path in sources()
        for other in imported(path)
        if any(other in layer for layer in LAYERS) and layer(other) > layer(module)
    ]
    assert not upward


def test_only_the_top_layer_needs_amazon_aws() -> None:
    needing = {
        module for module, path in sources() for other in imported(path) if other.startswith("ansible_collections.a")
    }
    assert needing <= set(LAYERS[-1])


@pytest.mark.parametrize("module", PURE)
def test_what_decides_can_be_imported_without_amazon_aws_and_botocore(module: str) -> None:
    blocked = ("boto3", "botocore", "ansible_collections.amazon", "ansible_collections.community")
    program = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
sys.path = {sys.path!r}
__import__({PACKAGE!r} + "." + {module!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)
