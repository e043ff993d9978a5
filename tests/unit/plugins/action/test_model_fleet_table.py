# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table at the end of a run."""

from __future__ import annotations

from typing import Any

from ansible_collections.algo.trading.plugins.action.model_fleet import table


def server(name: str, action: str = "no-op", problem: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "action": action, "problem": problem, "reason": "up to date", "state": "running", **more}


def test_only_what_changed_is_shown_and_the_rest_is_counted() -> None:
    lines = table([server("a", "create"), server("b"), server("c")], changed_only=True)
    assert len(lines) == 3
    assert lines[1].startswith("a ")
    assert lines[2] == "(2 more servers are up to date)"


def test_nothing_is_shown_when_nothing_changed() -> None:
    assert table([server("a")], changed_only=True) == []


def test_everything_is_shown_on_request_in_columns() -> None:
    lines = table([server("a"), server("a longer name")], changed_only=False)
    assert lines[0].index("ACTION") == lines[1].index("no-op") == lines[2].index("no-op")


def test_a_problem_comes_before_the_reason_and_names_cannot_control_the_terminal() -> None:
    lines = table([server("a\x1b[31m", "create", problem="no capacity")], changed_only=True)
    assert lines[1].endswith("no capacity")
    assert "\x1b" not in lines[1]
