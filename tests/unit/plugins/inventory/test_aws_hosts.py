# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWS is asked for hosts by every command but our own playbooks, which start with pseudo-hosts and ask later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.inventory import aws_hosts
from ansible_collections.algo.trading.plugins.inventory.aws_hosts import starts_without_hosts

ROOT = Path(__file__).parents[4]
# An installed collection has no site.yml.
OURS = [path for path in (ROOT / "site.yml", *(ROOT / "playbooks").glob("*.yml")) if path.exists()]
PLAYBOOK: dict[str, Any] = {"start_at_task": None, "subset": None, "args": ("algo.trading.site",)}


@pytest.mark.parametrize(
    ("changed", "without"),
    [
        ({}, True),
        ({"args": (str(ROOT / "playbooks" / "network.yml"),)}, True),
        ({"args": ("algo.trading.site", "/elsewhere/hosts.yml")}, False),
        ({"args": ("other.collection.site",)}, False),
        ({"args": ("algo.trading.no_such",)}, False),
        ({"args": ()}, False),
        ({"subset": "aws_network,aws_identity"}, True),
        ({"subset": "components:!aws_gpu_instance"}, True),
        ({"subset": "aws_network,mlflow_server"}, False),
        ({"subset": "@failed"}, False),
        ({"subset": "aws_*"}, False),
    ],
)
def test_the_command_decides(changed: dict[str, Any], without: bool) -> None:
    assert starts_without_hosts(PLAYBOOK | changed) is without


def test_other_commands_always_ask() -> None:
    assert not starts_without_hosts({})
    assert not starts_without_hosts({"args": "all", "subset": None, "module_name": "ping"})


OWN = "- {hosts: components, tasks: []}\n- {hosts: '{{ algo_components | default([]) }}:!foundation', tasks: []}\n"
REFRESH = "- {hosts: components, tasks: [{ansible.builtin.meta: refresh_inventory}]}\n"
REAL = "- {hosts: trading_server, tasks: []}\n"


@pytest.mark.parametrize(
    ("text", "without"),
    [
        (OWN, True),
        (OWN + REAL, False),
        (OWN + REFRESH + REAL, True),
        (REAL + REFRESH, False),
        ("- {hosts: '{{ mine }}', tasks: []}\n", False),
        ("- {hosts: all, tasks: []}\n", False),
        ("- hosts: [", False),
        ("nothing", False),
    ],
)
def test_a_playbook_in_our_folder_that_names_real_hosts_gets_them(
    text: str, without: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aws_hosts, "_COLLECTION", tmp_path)
    (tmp_path / "hosts.yml").write_text(text)
    assert starts_without_hosts(PLAYBOOK | {"args": (str(tmp_path / "hosts.yml"),)}) is without


# They do nothing but configure hosts.
FOR_HOSTS = {"configure.yml", "pull.yml"}


@pytest.mark.parametrize("path", sorted(OURS), ids=lambda p: p.name)
def test_only_playbooks_for_hosts_ask_at_their_start(path: Path) -> None:
    assert starts_without_hosts(PLAYBOOK | {"args": (str(path),)}) is (path.name not in FOR_HOSTS)
