# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from types import MappingProxyType

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.plan import Text, cells, summary_text

SUMMARY = {
    "project": "algo-trading",
    "environment": "qa",
    "region": "us-east-1",
    "account": "123456789012",
    "components": {
        "mlflow_server": {
            "tracking server": {"where": "mlflow-server.qa.algo-trading.internal", "state": "running"},
            "artifacts": "s3://artifacts",
        },
        "network": {"VPC": {"where": "vpc-1", "state": "available"}},
    },
    "models": {
        "m/AAPL/a": {"instance": "i-1", "state": "running"},
        "m/GOOG/b": {"instance": "i-2", "state": "pending"},
    },
    "notes": ["one"],
    "warnings": {"hosts": "Hosts are not configured yet."},
}


def shown(texts: list[Text]) -> list[str]:
    return ["".join(part for _style, part in text) for text in texts]


def summary(value=MappingProxyType(SUMMARY), width=120, group_above=20) -> list[str]:
    return shown(summary_text(value, ("network", "mlflow_server"), width, group_above))


def test_it_is_a_table_of_what_runs_where():
    assert summary()[:7] == [
        "algo-trading · qa · us-east-1 · account 123456789012",
        "",
        "  component      what             where                                   state",
        "  network        VPC              vpc-1                                   available",
        "  mlflow_server  tracking server  mlflow-server.qa.algo-trading.internal  running",
        "                 artifacts        s3://artifacts",
        "",
    ]


@pytest.mark.parametrize("width", [30, 60, 79, 100])
def test_on_a_narrow_terminal_rows_take_two_lines_and_nothing_is_lost(width):
    lines = summary(width=width)
    text = "\n".join(lines)
    assert "mlflow-server.qa.algo-trading.internal" in text
    if width < 85:
        assert "    VPC · vpc-1 · available" in lines
        assert max(cells(line) for line in lines if line.startswith("  ")) <= max(width, 75)


def test_models_stand_in_a_table_with_their_count():
    lines = summary()
    assert "2 trading servers: 1 running, 1 pending" in lines
    assert "  m/AAPL/a  i-1       running" in lines


def test_a_thousand_models_are_counted_and_only_the_odd_ones_named():
    models = {f"momentum/S{n}/m": {"state": "running"} for n in range(995)}
    models |= {f"trend/S{n}/m": {"state": "impaired"} for n in range(5)}
    lines = summary({"models": models})
    assert lines[:2] == ["1000 trading servers: 995 running, 5 impaired", "  momentum 995, trend 5"]
    assert [line.split()[0] for line in lines[3:8]] == [f"trend/S{n}/m" for n in range(5)]


def test_too_many_odd_models_are_counted_too():
    models = {f"m/S{n}/m": {"state": "running" if n < 600 else "pending"} for n in range(1000)}
    assert any("380 more that are not running" in line for line in summary({"models": models}))


def test_hosts_stand_in_a_table_with_their_health_and_numbers():
    trading = {
        "component": "trading_server",
        "model": "mean_reversion/AAPL/zscore-outer_0_inner_1",
        "version": "e529483cf28a8af6",
    }
    hosts = {
        "t-1": {
            **trading, "health": "healthy", "state": "trading", "last_work_age": 0.84, "feed_lag": 0.31, "orders": 4,
            "fills": 3, "position": 12.0, "symbol": "AAPL", "profit_and_loss": {"total": -1234.5},
        },
        "t-2": {**trading, "health": "unhealthy", "state": "refused", "last_work_age": 400, "reason": "corrupt"},
        "m-1": {"component": "mlflow_server", "health": "unreachable", "failed_units": ["a.service", "b.service"]},
    }  # fmt: skip
    lines = summary({"hosts": hosts})
    assert lines[0] == "3 hosts: 1 healthy, 1 unhealthy, 1 unreachable"
    assert [line.split("  ") for line in (re.sub(" {2,}", "  ", line.strip()) for line in lines[2:7])] == [
        ["mlflow_server", "unreachable"],
        ["a.service, b.service"],
        [trading["model"], "e529483", "healthy", "0.8 s", "0.3 s", "4", "3", "12 AAPL", "-1234.50"],
        [trading["model"], "e529483", "unhealthy", "7 min"],
        ["refused: corrupt"],
    ]
    assert max(map(len, lines)) <= 120


def test_of_many_hosts_those_that_are_not_healthy_are_shown():
    hosts = {f"t-{number:02}": {"component": "trading_server", "health": "healthy"} for number in range(30)}
    hosts["t-07"] = {"component": "trading_server", "health": "not configured", "reason": "no disk"}
    lines = summary({"hosts": hosts})
    assert lines[0] == "30 hosts: 29 healthy, 1 not configured"
    assert [line.split()[0] for line in lines[2:] if line] == ["t-07", "no"]


def test_notes_and_warnings_are_lists_or_dicts():
    lines = summary()
    assert "· one" in lines
    assert "! Hosts are not configured yet." in lines


@pytest.mark.parametrize("value", [{}, {"components": None, "models": []}, {"components": {"a": "text"}}, {"x": 1}])
def test_what_is_missing_or_of_another_shape_is_left_out(value):
    assert summary(value) == []
