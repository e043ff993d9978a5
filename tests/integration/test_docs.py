"""What the documentation says exists: settings, files, targets of make, playbooks, inventories."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.splitter import parse_kv

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "awx/*.md", "lambda/*.md", "roles/*/README.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(?:sh|console|shell)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ANSIBLE = re.compile(r"\bansible-playbook\s+[^`\n]*")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The targets that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> Iterator[str]:
    """Every line of a shell block and every command within a sentence."""
    text = page.read_text(encoding="utf-8")
    for block in _BLOCK.findall(text):
        yield from (line.split("  #")[0].strip() for line in block.splitlines())
    yield from re.findall(r"`((?:make|ansible-playbook|python tools/)[^`\n]*)`", text)


def declared() -> set[str]:
    specs = (yaml.safe_load(path.read_text()) for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    return {name for spec in specs for entry in spec["argument_specs"].values() for name in entry["options"]}


def test_settings_page_is_what_the_roles_declare() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "settings_doc.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_name_what_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets = {target for names in targets for target in names.split()}
    # `component` is no setting: playbooks/bake_ami.yml takes it.
    settings = {*declared(), "component"}
    wrong = []
    for command in commands(page):
        made = re.match(r"make ([a-z-]+)", command)
        if made and made[1] not in targets:
            wrong.append(f"{command}: no target {made[1]}")
        wrong += [
            f"{command}: no file {path}"
            for path in re.findall(
                r"(?<!\S)((?:site|(?:playbooks|awx|tools|inventories)/[\w/.-]*)(?:\.yml|\.py|\b))(?=\s|$)", command
            )
            if not (ROOT / path).exists()
        ]
        if _ANSIBLE.match(command) or made:
            own = "".join((ROOT / path).read_text() for path in re.findall(r"playbooks/\w+\.yml", command))
            wrong += [
                f"{command}: no setting {name}"
                for name in re.findall(r"-e ['\"]?([a-z]\w*)=", command)
                # A playbook may have one of its own, such as bake_ami.yml's component.
                if name not in settings and not re.search(rf"{{{{ {name}\b", own)
            ]
    assert wrong == []


def test_values_with_spaces_are_quoted_for_ansible_too() -> None:
    """Of an unquoted value Ansible takes the first word, and drops the rest without a word."""
    texts = [path for kind in ("md", "yml", "j2", "py", "sh") for path in ROOT.rglob(f"*.{kind}") if _is_ours(path)]
    given = [
        (name_of(path), value.replace('\\"', '"'))
        for path in texts
        for value in re.findall(r"-e '([a-z_]+=[^'\n]*)'", path.read_text(encoding="utf-8"))
    ]
    assert len(given) > 5
    assert [(path, value) for path, value in given if "_raw_params" in parse_kv(value)] == []


def _is_ours(path: Path) -> bool:
    top = path.relative_to(ROOT).parts[0]
    return top in {"README.md", "awx", "docs", "inventories", "lambda", "playbooks", "plugins", "roles", "tools"}


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=lambda path: path.name)
def test_every_role_says_what_it_is(role: Path) -> None:
    text = (role / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {role.name}\n")


def test_playbooks_are_all_described() -> None:
    described = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    playbooks: list[Any] = [path.name for path in (ROOT / "playbooks").glob("[!_]*.yml")]
    assert [name for name in sorted(playbooks) if f"playbooks/{name}" not in described] == []


def test_the_faults_of_the_trading_day_name_tests_that_exist() -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|.*`test_.*$", page.partition("## Faults of the trading day")[2], re.MULTILINE)
    assert len(rows) > 15
    for row in rows:
        files = re.findall(r"`((?:tests|molecule)/[\w/]+\.py)`", row)
        text = "".join((ROOT / file).read_text(encoding="utf-8") for file in files)
        assert [name for name in re.findall(r"`(test_\w+)`", row) if f"def {name}(" not in text] == [], row
