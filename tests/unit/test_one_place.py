# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names, tags and ARNs are made in one place: nobody writes them by hand again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.algo.trading.plugins.module_utils._environments import environments
from ansible_collections.algo.trading.plugins.module_utils._tags import MANAGED_BY

ROOT = Path(__file__).parents[2]
SEARCHED = ("awx", "inventories", "lambda", "molecule", "playbooks", "plugins", "roles", "tools")
# What must not be written by hand, and the files where the one rule or a text for people stands. P and E stand for the
# variables that hold project and environment.
COPIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a name in a template": (r"P ?\}\}-|-\{\{ ?E|~ ?'-' ?~ E|P ~ '-", ()),
    "a name in Python": (r"\{[\w.]*project\}-[^\"]*\{[\w.]*environment\}", ()),
    "a path in a template": (r"/\{\{ ?P|'/' ~ P", ()),
    "a path in Python": (r"/\{[\w.]*project\}/\{[\w.]*environment\}", ()),
    "a DNS name": (r"[\w}]\.internal\b", ("plugins/module_utils/_naming.py",)),
    "the tag of what is ours": (
        r"ManagedBy\W{1,4}algo\.trading",
        ("plugins/module_utils/_tags.py", "roles/aws_environment/tasks/account.yml"),
    ),
    "an ARN in a template": (r"arn:\{\{|'arn:'|\}\}:(function|instance|log-group|parameter|role|secret)\b", ()),
    "the states of instances that exist": (
        r"pending.{1,4}running.{1,4}stopping.{1,4}stopped",
        ("plugins/module_utils/_naming.py",),
    ),
}
# A part of an environment's own folder, compared with its settings below; documentation with its examples.
_OTHERWISE = re.compile(r"(^|/)aws_ec2\.yml$|\.md$|^plugins/filter/\w+\.yml$|/argument_specs\.yml$|^plugins/modules/")


def files() -> Iterator[tuple[str, str]]:
    for folder in SEARCHED:
        for path in sorted((ROOT / folder).rglob("*")):
            name = str(path.relative_to(ROOT))
            if path.suffix in {".py", ".yml", ".j2", ".sh"} and not _OTHERWISE.search(name):
                yield name, path.read_text(encoding="utf-8")


@pytest.mark.parametrize("what", COPIES)
def test_is_written_in_one_place(what: str) -> None:
    pattern, allowed = COPIES[what]
    pattern = re.sub(r"\bP\b", "(algo|aws_identity)_project", pattern)
    pattern = re.sub(r"\bE\b", "(algo|aws_identity)_environment", pattern)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in files()
        if not name.startswith(allowed or ("nowhere",))
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]
    assert found == []


@pytest.mark.parametrize("name", environments(ROOT / "inventories"))
def test_the_inventory_of_hosts_asks_for_its_own_environment(name: str) -> None:
    folder = ROOT / "inventories" / name
    own = yaml.safe_load((folder / "group_vars" / "all" / "settings.yml").read_text())
    shared = yaml.safe_load((folder / "group_vars" / "all" / "common.yml").read_text())
    hosts = yaml.safe_load((folder / "aws_ec2.yml").read_text())
    tags = {key.removeprefix("tag:"): value for key, value in hosts["filters"].items() if key.startswith("tag:")}
    assert tags == {"Project": shared["algo_project"], "Environment": name, "ManagedBy": MANAGED_BY}
    assert own["algo_environment"] == name
    assert hosts["regions"] == [own.get("algo_region", shared["algo_region"])]
    # A host that the run has just launched is configured as well: its configuration waits for it.
    assert set(hosts["filters"]["instance-state-name"]) == {"pending", "running"}
