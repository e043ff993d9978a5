"""How hosts are told in the summary."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.filter.hosts import host_role, host_status, host_status_command


def test_a_component_without_a_role_of_its_own_has_none() -> None:
    assert host_role("network") == ""
    assert host_role("no_such") == ""


def test_every_host_is_asked_for_its_systemd() -> None:
    assert host_status_command("gpu_instance").startswith("systemctl is-system-running; ")
    assert "algo-host status --json" in host_status_command("trading_server")
    assert host_status_command("trading_server").endswith("; true")  # an absent command is no failure


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        (
            {"healthy": True, "version": "v1", "last_loop": "12:00", "open_orders": 0, "positions": 3, "reason": ""},
            {"health": "healthy", "version": "v1", "last_work": "12:00", "orders": 0, "position": 3},
        ),
        ({"healthy": False, "reason": "no feed"}, {"health": "unhealthy", "reason": "no feed"}),
        ({"status": "failed", "reasons": ["a", "b"]}, {"health": "unhealthy", "reason": "a; b"}),
        ({"status": "ok", "last_message": "12:01"}, {"health": "healthy", "last_work": "12:01"}),
    ],
)
def test_what_a_service_says_of_itself_is_shown(own: dict[str, Any], shown: dict[str, Any]) -> None:
    found = host_status(f"running\n\n{json.dumps(own)}", "trading_server")
    assert found == {"component": "trading_server", **shown}


def test_a_host_without_a_service_says_so_and_names_failed_units() -> None:
    assert host_status("running\n\n", "gpu_instance") == {"component": "gpu_instance", "health": "no service"}
    found = host_status("degraded\nalgo-trader.service chrony.service\nnot json", "trading_server")
    assert found["health"] == "no service"
    assert found["failed_units"] == ["algo-trader.service", "chrony.service"]
    assert host_status("", "gpu_instance")["health"] == "unknown"
    assert host_status("running\n\nOK", "mlflow_server")["health"] == "healthy"
