"""Log groups, alarms and dashboards: which are ours, and what counts as a change."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.resources import decide
from ansible_collections.algo.trading.plugins.module_utils.resources.monitoring import (
    ALARM,
    DASHBOARD,
    LOG_GROUP,
    _owns_log_group,
)

SCOPE = Scope("algo-trading", "qa")


def found(**settings: Any) -> dict[str, Any]:
    return {"ours": True, "settings": settings, "attributes": {}, "tags": {}}


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("/aws/lambda/algo-trading-trading-server-qa", True),
        ("/aws/lambda/algo-trading-trading-server-shutdown-qa", True),
        ("/aws/lambda/algo-trading-trading-server-qa2", False),
        ("/aws/lambda/algo-trading-trading-server-prod", False),
        ("/algo-trading/qa/trading_server", True),
        ("/algo-trading/qa2/trading_server", False),
        ("/algo-trading/prod/trading_server", False),
    ],
)
def test_a_log_group_is_told_by_its_whole_name(name: str, ours: bool) -> None:
    assert _owns_log_group(SCOPE, name) is ours


def test_a_log_group_keeps_its_logs_when_retention_changes() -> None:
    decision = decide(LOG_GROUP, {"retention": 30}, found(retention=90))
    assert (decision.action, decision.reasons) == ("update", ("retention: 90 → 30",))


def test_a_threshold_is_a_number_however_it_was_written() -> None:
    assert decide(ALARM, {"threshold": 1}, found(threshold=1.0)).action == "no-op"
    assert decide(ALARM, {"threshold": "2"}, found(threshold=1.0)).action == "update"


def test_an_alarm_is_described_with_its_tags_although_its_module_takes_none() -> None:
    assert ALARM.separate_tags
    decision = decide(ALARM, {"tags": {"Environment": "qa"}}, found(tags={}))
    assert decision.reasons == ("tags.Environment: unset → qa",)


def test_a_dashboards_body_is_compared_by_what_it_says() -> None:
    shown = found(body={"widgets": [{"type": "text", "width": 6}]})
    assert decide(DASHBOARD, {"body": '{"widgets": [ {"width": 6, "type": "text"} ]}'}, shown).action == "no-op"
    assert decide(DASHBOARD, {"body": {"widgets": []}}, shown).action == "update"
