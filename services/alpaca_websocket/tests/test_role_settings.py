# SPDX-License-Identifier: GPL-3.0-or-later
"""The role that installs the server has the server's settings: no fewer, no others, of the same kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec import inspect

from alpaca_websocket.downstream.auth import Token
from alpaca_websocket.settings import Downstream, Lease, Observe, Upstream
from alpaca_websocket.store.settings import StoreSettings

ROLE = Path(__file__).parents[3] / "roles" / "alpaca_websocket"
TABLES: dict[str, type[msgspec.Struct]] = {
    "upstreams": Upstream,
    "downstream": Downstream,
    "store": StoreSettings,
    "lease": Lease,
    "observe": Observe,
    "clients": Token,
}
KINDS: dict[type[inspect.Type], str] = {
    inspect.StructType: "dict",
    inspect.DictType: "dict",
    inspect.VarTupleType: "list",
    inspect.ListType: "list",
    inspect.LiteralType: "str",
    inspect.StrType: "str",
    inspect.IntType: "int",
    inspect.FloatType: "float",
    inspect.BoolType: "bool",
}


def of_the_server(kind: type[msgspec.Struct]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in _fields(kind):
        of = field.type
        choices = sorted(map(str, of.values)) if isinstance(of, inspect.LiteralType) else None
        below = of_the_server(of.cls) if isinstance(of, inspect.StructType) else None
        found[field.name] = (KINDS[type(of)], choices, below)
    return found


def _fields(kind: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    return described.fields


def of_the_role(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (each["type"], each.get("choices"), of_the_role(each["options"]) if each.get("options") else None)
        for name, each in options.items()
    }


@pytest.mark.parametrize("table", TABLES)
def test_the_role_has_the_settings_of_the_server(table: str) -> None:
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert of_the_role(specs[f"alpaca_websocket_{table}"]["options"]) == of_the_server(TABLES[table])
