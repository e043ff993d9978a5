"""Writes docs/settings.md from what the roles declare, so that the page can't say anything else than the check does.

    settings_doc.py            writes it
    settings_doc.py --check    says whether it is up to date, and writes nothing

The roles, their settings, meanings and defaults come from `roles/*/meta/argument_specs.yml`, and values that all
environments share from `inventories/shared/all.yml`. What an environment sets itself stands in its own files only.
"""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"

HEAD = """\
# Settings

Made by `python tools/settings_doc.py` from the roles' argument specs. Don't edit this page; edit them.

A run checks all of these before it asks AWS anything: unknown names, wrong types, values that contradict each other or
another environment. It reports everything that is wrong at once, with file and line.

Where a setting is looked for, the later winning: the role's default below; `inventories/shared/all.yml`, linked into
each environment; `settings.yml` and `release.yml` in `inventories/<environment>/group_vars/all/`; and `-e name=value`
on the command line. This page repeats no value of these files: "shared" means that the shared file has one. A default
in braces follows from other settings. `release.yml` holds `algo_release`, which is [promoted](promotion.md) from one
environment to the next.
"""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {}


def options(role: str) -> dict[str, Any]:
    """A role's settings; entry points other than `main` only repeat them."""
    specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return dict(specs["main"].get("options") or {})


def description(role: str) -> str:
    specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return text(specs["main"].get("description") or specs["main"]["short_description"])


def roles() -> list[str]:
    """The roles whose settings an operator sets; the others are shapes that these include."""
    registry = runpy.run_path(str(ROOT / "plugins" / "module_utils" / "_components.py"))
    return ["aws_environment", *(component.role for component in registry["REGISTRY"])]


def text(given: Any) -> str:
    """Ansible's markup as Markdown, in one line."""
    joined = " ".join(given) if isinstance(given, list) else str(given)
    joined = re.sub(r"\b[CVOIBE]\(([^)]*)\)", r"`\1`", joined)
    return " ".join(joined.split()).replace("|", "\\|")


def value(given: Any) -> str:
    """A value as YAML would take it."""
    if isinstance(given, str):
        shown = " ".join(given.split()) if given else "''"
    elif isinstance(given, bool):
        shown = str(given).lower()
    else:
        shown = json.dumps(given, ensure_ascii=False)
    return f"`{shown}`".replace("|", "\\|")


def default_of(name: str, option: dict[str, Any], shared: dict[str, Any]) -> str:
    if name in shared:
        return "shared"
    if "default" in option:
        return value(option["default"])
    return "**to be set**" if option.get("required") else ""


def kind(option: dict[str, Any]) -> str:
    shown = str(option.get("type", "str"))
    return f"{shown} of {option['elements']}" if option.get("elements") else shown


def rows(settings: dict[str, Any], shared: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, option in settings.items():
        full = f"{prefix}{name}"
        meaning = text(option.get("description", ""))
        if option.get("choices"):
            meaning += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
        yield f"| `{full}` | {kind(option)} | {default_of(full, option, shared)} | {meaning} |"
        if option.get("options"):
            yield from rows(option["options"], {}, f"{full}{'[]' if option.get('elements') else ''}.")


def page() -> str:
    shared = load(ROOT / "inventories" / "shared" / "all.yml")
    parts = [HEAD]
    for role in roles():
        title = "Everything" if role == "aws_environment" else role.removeprefix("aws_")
        parts.append(f"## {title}\n\n{description(role)}\n")
        parts.append("| setting | type | default | meaning |\n| --- | --- | --- | --- |")
        parts.extend(rows(options(role), shared))
        parts.append("")
    return "\n".join(parts).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the page is not up to date")
    check = parser.parse_args().check
    wanted = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    if check:
        print(f"{PAGE.relative_to(ROOT)} is not up to date. Run: python tools/settings_doc.py", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
