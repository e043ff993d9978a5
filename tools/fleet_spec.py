"""Writes the fleet's options into the role's argument specs, so that their types, limits and texts stand once.

    fleet_spec.py            writes them
    fleet_spec.py --check    says whether they are up to date, and writes nothing

The options come from `plugins/module_utils/fleet/spec.py`, their defaults in the role from its `defaults/main.yml`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
ROLE = ROOT / "roles" / "aws_trading_server"
SPECS = ROLE / "meta" / "argument_specs.yml"
BEGIN = "      # Options of the fleet, written by tools/fleet_spec.py: don't edit them here.\n"
END = "      # End of the fleet's options.\n"
INDENT = 6

sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.algo.trading.plugins.module_utils.fleet.argument_spec import (
    documentation,
    role_options,
    role_text,
)


class Dumper(yaml.SafeDumper):
    """Indents lists, as the other files do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def for_the_role(option: dict[str, Any]) -> dict[str, Any]:
    """One option with the texts that fit the role."""
    text = role_text(option["description"])
    shown = {**option, "description": text[0] if len(text) == 1 else text}
    for name, inner in shown.get("options", {}).items():
        # One level is enough: what is below, the texts name and the fleet's own check knows.
        inner.pop("options", None)
        shown["options"][name] = for_the_role(inner)
    return shown


def written() -> str:
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text(encoding="utf-8"))
    options = {}
    for name, option in documentation(role_options(), below="options").items():
        own = for_the_role(option)
        own.pop("default", None)
        if name in defaults:
            own = {"description": own.pop("description"), "type": own.pop("type"), "default": defaults[name], **own}
        options[name] = own
    text = yaml.dump(options, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)
    return "".join(f"{' ' * INDENT}{line}\n" if line else "\n" for line in text.splitlines())


def page() -> str:
    now = SPECS.read_text(encoding="utf-8")
    before, _, rest = now.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{written()}{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the specs are not up to date")
    check = parser.parse_args().check
    wanted = page()
    if SPECS.read_text(encoding="utf-8") == wanted:
        return 0
    if check:
        print(f"{SPECS.relative_to(ROOT)} is not up to date. Run: python tools/fleet_spec.py", file=sys.stderr)
        return 1
    SPECS.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
