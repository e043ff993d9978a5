"""How hosts are told in the summary."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.filter.hosts import (
    host_role,
    host_silence,
    host_status,
    host_status_command,
)


def test_a_component_without_a_role_of_its_own_has_none() -> None:
    assert host_role("network") == ""
    assert host_role("no_such") == ""


def test_every_host_is_asked_for_its_systemd() -> None:
    assert host_status_command("no_such").startswith("systemctl is-system-running; ")
    assert "algo-gpu status --json" in host_status_command("gpu_instance")
    assert "algo-host status --json" in host_status_command("trading_server")


@pytest.mark.parametrize(
    ("status", "asked"),
    [("exit 0", 1), ("exit 1", 3), ("exit 127", 1), ("exit 78", 1)],
    ids=["healthy", "unhealthy until the time is over", "not installed", "refused"],
)
def test_the_script_waits_for_a_service_that_is_not_healthy(tmp_path: Path, status: str, asked: int) -> None:
    programs = {
        "algo-host": f"echo asked >> {tmp_path}/asked; echo '{{\"healthy\": false}}'; {status}",
        "systemctl": "test $1 = list-units || echo running",
        "date": f"wc -l < {tmp_path}/asked 2>/dev/null || echo 0",  # a clock that goes on with each question
        "sleep": "true",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = host_status_command("trading_server", 3)
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert host_status(done.stdout, "trading_server")["health"] == "unhealthy"
    assert (tmp_path / "asked").read_text().count("asked") == asked


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        (
            {"healthy": True, "version": "v1", "last_loop": "12:00", "open_orders": 0, "positions": 3, "reason": ""},
            {"health": "healthy", "version": "v1", "last_work": "12:00", "open_orders": 0, "position": 3},
        ),
        (
            {
                "healthy": True,
                "last_loop_age": 1.5,
                "positions": 1,
                "health": {"orders": 4, "fills": 3, "position": 7.0, "symbol": "AAPL", "positions": 1, "feed_lag": 0.4},
            },
            {
                "health": "healthy",
                "last_work_age": 1.5,
                "feed_lag": 0.4,
                "orders": 4,
                "fills": 3,
                "position": 7.0,
                "symbol": "AAPL",
            },
        ),
        (
            {"status": "ok", "channels": {"bars": {"age_seconds": 0.5}, "trades": {"age_seconds": None}}},
            {"health": "healthy", "last_work_age": 0.5, "feed_lag": 0.5},
        ),
        (
            {
                "healthy": False,
                "reason": "",
                "state": "",
                "boot": {"result": "refused", "reason": "The model is corrupt."},
            },
            {"health": "unhealthy", "state": "refused", "reason": "The model is corrupt."},
        ),
        (
            {"healthy": True, "failed_drain": {"time": "12:01", "reason": "position not flat"}},
            {"health": "healthy", "reason": "a drain failed: position not flat"},
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


def test_a_host_whose_boot_goes_on_is_booting_until_its_service_is_healthy() -> None:
    assert host_status("starting\n\n", "trading_server")["health"] == "booting"
    assert host_status('starting\n\n{"healthy": false}', "trading_server")["health"] == "booting"
    assert host_status('starting\n\n{"healthy": true}', "trading_server")["health"] == "healthy"


@pytest.mark.parametrize(("minutes", "health"), [(5, "booting"), (15, "unreachable")])
@pytest.mark.parametrize(
    "form", [datetime.isoformat, str, lambda time: time, lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}"]
)
def test_a_host_that_does_not_answer_boots_for_a_while(
    form: Callable[[datetime], Any], minutes: int, health: str
) -> None:
    launched = datetime.now(UTC) - timedelta(minutes=minutes)
    assert host_silence(form(launched)) == health


def test_one_word_is_enough() -> None:
    assert host_status("running\n\nOK", "mlflow_server")["health"] == "healthy"
