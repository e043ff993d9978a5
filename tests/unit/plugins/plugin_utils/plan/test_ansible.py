"""Diffs of results: computed ones lose what means nothing here, prepared ones stay as they are."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.plugins.callback import CallbackBase
from ansible_collections.algo.trading.plugins.plugin_utils.plan import diff_of


def rendered(diff: Any) -> list[str]:
    return diff_of(diff, CallbackBase()._get_diff).splitlines()


def test_a_computed_diff_loses_headers_and_positions() -> None:
    settings = {"before": {"a": 1, "b": 3}, "after": {"a": 2, "b": 3}, "before_header": "x", "after_header": "x"}
    assert [line.split(": ")[-1] for line in rendered(settings) if line[0] in "+-"] == ["1,", "2,"]
    assert not [line for line in rendered(settings) if line.startswith(("---", "+++", "@@"))]
    files = {"before": "a\n", "after": "b\n", "before_header": "/etc/x", "after_header": "/etc/x"}
    assert rendered(files) == ["--- before: /etc/x", "+++ after: /etc/x", "- a", "+ b"]


@pytest.mark.parametrize("line", ["create mean_reversion/AAPL/sma-outer_0_inner_1", "- a", "+b", "@@ x", "--- before"])
def test_what_a_module_has_prepared_is_shown_as_it_is(line: str) -> None:
    assert rendered({"prepared": f"{line}\n"}) == [line]
    assert rendered([{"before": "a\n", "after": "b\n"}, {"prepared": line}]) == ["- a", "+ b", line]
