# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check before the open: whoever does not trade is named in time, with the reason and what to type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.orders import HALT, Order, changed
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import Plan
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar, read_calendar
from ansible_collections.algo.trading.plugins.module_utils.trading_day import report_by
from ansible_collections.algo.trading.tests.unit.trading_day.conftest import EVENING, AwsError, fleet_parameter
from trading_day import commands, events, fleet, readiness, report
from trading_day.settings import Settings

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

ENV = {"PROJECT": "algo-trading", "ENVIRONMENT": "qa", "ALERT_TOPIC_ARN": "arn:topic"}
# 09:20 in New York, on the world's day.
CHECK = datetime(2028, 1, 5, 14, 20, tzinfo=UTC)
FLAG = "/algo-trading/qa/halt"
STATUS = """model:     momentum/AAPL/a 1
unit:      {unit}
health:    {health}
last loop: none
held:      0 positions, 0 open orders
halt:      no
boot:      {boot}
"""


class Morning:
    """A world before the open, and the check of it."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        # The world's clock starts in the evening.
        world.clock.seconds = (CHECK - EVENING).total_seconds()
        self.output = STATUS.format(unit="active, trading", health="healthy", boot="ok")
        world.parameters["/algo-trading/qa/trading_server/fleet"] = fleet_parameter(
            halt_parameter=FLAG, source={"bucket": "models"}
        )
        monkeypatch.setattr(readiness, "_plan", self._plan)
        monkeypatch.setattr(readiness, "_models", lambda *_arguments: [])
        world._list_command_invocations = self._invocations  # type: ignore[method-assign]

    def _plan(self, *_arguments: Any) -> FleetResult:
        rows = [
            {
                "name": machine.tags["Model"],
                "instance_id": machine.id,
                "state": machine.state,
                "action": "no-op" if machine.state == "running" else "start",
                "reason": "stopped, power is running",
                "problem": "",
            }
            for machine in self.world.machines.values()
        ]
        return FleetResult(Plan(()), servers=rows)

    def _invocations(self, CommandId: str, Details: bool) -> Any:
        self.world._called("ListCommandInvocations")
        statuses = [self.world._status(CommandId, id_) for id_ in self.world.commands[CommandId]]
        yield {"CommandInvocations": [{**s, "CommandPlugins": [{"Output": self.output}]} for s in statuses]}

    def check(self, scheduled: datetime | None = CHECK, **event: Any) -> dict[str, Any]:
        settings = Settings.from_env("trading_server", ENV)
        told = {"action": "check", **({"scheduled_time": scheduled.isoformat()} if scheduled else {}), **event}
        request = events.parse(told, settings, (events.START, events.CHECK), events.START)
        world = self.world
        aws = fleet.Aws(world, world, world, lambda: world, lambda: world)
        log = report.Log(settings, world.log, "run-1")
        return readiness.run(settings, request, aws, world.clock, log, world.clock.monotonic() + 870)


@pytest.fixture
def morning(world: World, monkeypatch: pytest.MonkeyPatch) -> Morning:
    return Morning(world, monkeypatch)


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {server["instance_id"]: server["outcome"] for server in result["servers"]}


def test_a_fleet_that_trades_is_asked_once_and_nobody_is_disturbed(morning: Morning) -> None:
    world = morning.world
    world.add(60)
    result = morning.check()
    assert (result["ok"], result["reason"]) == (True, "60 servers trade")
    assert world.alerts == []
    assert world.calls["SendCommand"] == 2
    assert {sent["DocumentName"] for sent in world.sent} == {"algo-trading-trading-server-qa-status"}
    assert not any("Parameters" in sent for sent in world.sent)
    # It reads, and changes nothing.
    assert set(world.calls) == {"GetParameter", "SendCommand", "ListCommandInvocations", "DescribeInstanceStatus"}
    metrics = next(line for line in world.lines() if "_aws" in line)
    assert (metrics["ServersReady"], metrics["ServersNotReady"]) == (60, 0)


def test_each_that_does_not_trade_is_named_with_its_reason_five_minutes_before_the_open(morning: Morning) -> None:
    world = morning.world
    well, stopped, failed, away, ill = world.add(5)
    stopped.state, failed.ends, away.reachable = "stopped", "Failed", False
    world.impaired.add(ill.id)
    morning.output = STATUS.format(unit="failed, refused: no keys", health="NOT healthy", boot="refused, 2028: no keys")
    result = morning.check()
    assert outcomes(result) == {well.id: "ready", **{m.id: "not_ready" for m in (stopped, failed, away, ill)}}
    assert not result["ok"]
    (alert,) = world.alerts
    assert alert["Subject"] == "algo-trading qa: Start needs attention: 4 of 5 servers do not trade"
    told = alert["Message"]
    assert f"{stopped.tags['Model']} ({stopped.id}): stopped: stopped, power is running" in told
    assert f"({failed.id}): trader failed, refused: no keys; last loop none; boot refused, 2028: no keys" in told
    assert f"({away.id}): SSM rejected the command" in told
    assert f"({ill.id}): EC2 reports it impaired" in told
    assert well.id not in told
    assert told.index("playbooks/trading_server.yml -e aws_trading_server_once_power=running") < told.index(away.id)
    assert "playbooks/drain.yml -e 'algo_models=" in told
    assert CHECK < world.clock.now() <= CHECK + timedelta(minutes=5)


def test_hosts_that_ec2_can_not_be_asked_about_are_told_of_and_trade(morning: Morning) -> None:
    world = morning.world
    first, _second = world.add(2)

    def refused(operation: str) -> None:
        if operation == "DescribeInstanceStatus":
            raise AwsError("UnauthorizedOperation", "not today")

    world.before_call = refused
    result = morning.check()
    assert not result["ok"]
    assert set(outcomes(result).values()) == {"ready"}
    (alert,) = world.alerts
    assert f"2 servers may be impaired, beginning with {first.tags['Model']} ({first.id})" in alert["Message"]
    assert "EC2's status checks of it cannot be read: " in alert["Message"]
    assert "not today" in alert["Message"]


def test_a_server_that_comes_up_late_is_waited_for(morning: Morning) -> None:
    world = morning.world
    late, well = world.add(2)
    late.fails_first = 3
    assert morning.check()["ok"]
    assert world.alerts == []
    assert (late.drains, well.drains) == (4, 1)  # counts commands; who trades is not asked again


def test_a_host_that_hangs_is_named_and_does_not_hold_up_the_alert(morning: Morning) -> None:
    (hung,) = morning.world.add(1, takes=None)
    assert not morning.check()["ok"]
    assert f"({hung.id}): no result within 30 s" in morning.world.alerts[0]["Message"]
    assert morning.world.clock.now() <= CHECK + timedelta(minutes=5)


def test_by_hand_it_looks_once(morning: Morning) -> None:
    (failing,) = morning.world.add(1, ends="Failed")
    assert not morning.check(scheduled=None)["ok"]
    assert failing.drains == 1


def test_a_dry_run_sends_nothing_and_tells_nobody(morning: Morning) -> None:
    up, down = morning.world.add(2)
    down.state = "stopped"
    assert outcomes(morning.check(dry_run=True)) == {up.id: "not_asked", down.id: "not_ready"}
    assert morning.world.alerts == []
    assert morning.world.calls["SendCommand"] == 0


def test_what_is_halted_is_told_apart_from_what_is_broken(morning: Morning) -> None:
    world = morning.world
    halted, well = world.add(2)
    halted.ends = "Failed"
    order = Order(HALT, "by the desk, 2028-01-04T20:00:00Z: looking", models=(halted.tags["Model"],))
    world.parameters[FLAG] = changed("false", order, world.clock.now())
    result = morning.check()
    assert result["ok"]
    assert outcomes(result) == {halted.id: "halted", well.id: "ready"}
    assert world.alerts[0]["Subject"] == "algo-trading qa: Start as ordered: 1 servers trade, 1 halted"
    assert "by the desk" in world.alerts[0]["Message"]


def test_two_checks_at_once_come_to_the_same(morning: Morning) -> None:
    world = morning.world
    world.add(3, ends="Failed")
    first = morning.check()
    world.clock.seconds = (CHECK - EVENING).total_seconds()
    assert morning.check() == first
    assert world.alerts[0] == world.alerts[1]


def test_on_a_holiday_nothing_is_asked(morning: Morning) -> None:
    morning.world.add(1)
    morning.world.clock.seconds -= timedelta(days=3).total_seconds()
    result = morning.check(CHECK - timedelta(days=3))
    assert (result["ok"], result["reason"]) == (True, "XNYS has no session on Sunday, 2028-01-02")
    assert not morning.world.calls


def test_an_event_that_comes_too_late_is_told_and_asks_nobody(morning: Morning) -> None:
    morning.world.add(1)
    morning.world.clock.seconds += timedelta(hours=3).total_seconds()
    assert not morning.check()["ok"]
    assert "Start not checked" in morning.world.alerts[0]["Subject"]
    assert set(morning.world.calls) == {"Publish"}


def test_an_alert_that_can_not_be_sent_is_an_error_after_the_servers_are_in_the_log(morning: Morning) -> None:
    world = morning.world
    (failing,) = world.add(1, ends="Failed")

    def gone(operation: str) -> None:
        if operation == "Publish":
            raise AwsError("NotFound", "Topic does not exist")

    world.before_call = gone
    with pytest.raises(Exception, match="Topic does not exist"):
        morning.check()
    assert any(line.get("instance_id") == failing.id and line["level"] == "WARNING" for line in world.lines())


def test_what_is_no_status_is_told_as_it_is() -> None:
    answer = commands.Answer(False, False, "Failed", "no trader is installed on this host\n")
    assert readiness._told(answer) == "Failed: no trader is installed on this host"


def test_the_report_is_due_before_the_open_of_each_session() -> None:
    calendar = read_calendar({"extra_sessions": {"2026-12-05": "10:00-13:00"}})
    for day, due in (("2026-11-27", "09:25"), ("2026-11-30", "09:25"), ("2026-12-05", "09:55")):
        by = report_by(calendar, datetime.fromisoformat(f"{day}T09:20-05:00"))
        assert by is not None
        assert f"{by:%H:%M}" == due
    assert report_by(Calendar(), datetime.fromisoformat("2026-11-26T09:20-05:00")) is None
    assert report_by(Calendar(), None) is None
