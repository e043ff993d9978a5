# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evening's shutdown: every host is drained, confirmed and stopped, or named with the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import Identity
from ansible_collections.algo.trading.tests.unit.trading_day.conftest import OWN, AwsError, fleet_parameter
from trading_day import events, report, settings, shutdown
from trading_day.commands import Answer

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

TOPIC = "arn:aws:sns:us-east-1:123456789012:algo-trading-trading-server-shutdown-qa"
FLEET = "/algo-trading/qa/trading_server/fleet"
ENV = {"PROJECT": "algo-trading", "ENVIRONMENT": "qa", "ALERT_TOPIC_ARN": TOPIC}


def shut_down(world: World, event: dict[str, Any] | None = None, limit: float = 900, **env: str) -> dict[str, Any]:
    configured = settings.ShutdownSettings.from_env("trading_server_shutdown", {**ENV, **env})
    request = events.parse(event or {}, configured, (events.STOP,), events.STOP, by_model=True)
    aws = shutdown.Aws(world, world, lambda: world, lambda: world)
    log = report.Log(configured, world.log, "run-1")
    return shutdown.run(configured, request, aws, world.clock, log, world.clock.monotonic() + limit)


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    return {host["instance_id"]: host["outcome"] for host in result["hosts"]}


def metrics(world: World) -> dict[str, Any]:
    return next(line for line in reversed(world.lines()) if "_aws" in line)


def test_all_hosts_are_drained_then_stopped(world: World) -> None:
    world.add(3)
    result = shut_down(world)
    assert result["ok"]
    assert set(outcomes(result).values()) == {"stopped"}
    assert all(host["reason"] == "drained: persisted" and host["model"] for host in result["hosts"])
    assert world.states() == {"stopping": 3}
    assert world.alerts == []
    assert metrics(world)["HostsStopped"] == metrics(world)["HostsDrained"] == 3


def test_ssms_defaults_that_bite_are_set(world: World) -> None:
    world.add(1)
    shut_down(world)
    assert world.sent[0]["DocumentName"] == "algo-trading-trading-server-qa-drain"
    assert world.sent[0]["MaxErrors"] == world.sent[0]["MaxConcurrency"] == "100%"
    assert world.sent[0]["TimeoutSeconds"] == 60
    assert "Parameters" not in world.sent[0]


def test_a_thousand_hosts_cost_a_command_per_fifty(world: World) -> None:
    world.add(1000)
    assert shut_down(world)["reason"] == "1000 stopped"
    assert world.calls["SendCommand"] == world.calls["StopInstances"] == 20
    assert world.calls["ListCommandInvocations"] <= 20 * 5
    # Before, after, and once for those that are not touched.
    assert world.calls["DescribeInstances"] == 3
    assert world.calls["CreateTags"] == 20
    assert world.clock.seconds < 60


def test_nothing_runs_and_nothing_is_called(world: World) -> None:
    world.add(1, state="stopped")
    assert shut_down(world)["reason"] == "no trading server runs"
    assert set(world.calls) == {"DescribeInstances"}


def test_a_dry_run_only_looks(world: World) -> None:
    world.add(2)
    result = shut_down(world, {"dry_run": True})
    assert set(outcomes(result).values()) == {"planned"}
    assert set(world.calls) == {"DescribeInstances", "GetParameter"}


def test_only_the_chosen_models_are_shut_down(world: World) -> None:
    chosen, other = world.add(2)
    gone = "momentum/GONE/sma-outer_0_inner_0"
    result = shut_down(world, {"models": [chosen.tags["Model"], gone], "reason": "by the desk: wrong prices"})
    assert outcomes(result) == {chosen.id: "stopped"}
    assert (other.state, other.drains) == ("running", 0)
    assert not result["ok"]
    assert result["missing"] == [gone]
    assert f"{gone}: no trading server of this model runs" in world.alerts[0]["Message"]
    assert any(line.get("reason") == "by the desk: wrong prices" for line in world.lines())


@pytest.mark.parametrize("models", [[], "momentum/AAPL/x", [""], [7], {}])
def test_models_that_are_no_list_of_names_are_refused(world: World, models: Any) -> None:
    world.add(1)
    with pytest.raises(InvalidInput, match="models must be a list of one or more names"):
        shut_down(world, {"models": models})
    assert not world.calls


@pytest.mark.parametrize("key", ["Project", "Environment", "Component", "ManagedBy"])
def test_an_instance_that_lacks_one_of_our_tags_is_not_touched_even_if_ec2_returns_it(world: World, key: str) -> None:
    (foreign,) = world.add(1)
    foreign.tags[key] = "other"
    world.add(1)
    world.blind_filter = True
    result = shut_down(world)
    assert result["foreign"] == [foreign.id]
    assert (foreign.state, foreign.drains) == ("running", 0)
    assert foreign.id in world.alerts[0]["Message"]


def test_a_host_that_fails_once_is_asked_again(world: World) -> None:
    world.add(1, fails_first=1)
    result = shut_down(world)
    assert outcomes(result).popitem()[1] == "stopped"
    assert result["hosts"][0]["attempts"] == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"ends": "Failed"}, "Failed: persisted"),
        ({"takes": None}, "no result within 300 s"),
        ({"reachable": False}, "SSM rejected the command"),
    ],
)
def test_a_host_that_does_not_confirm_keeps_running_and_is_reported(
    world: World, given: dict[str, Any], reason: str
) -> None:
    world.add(3)
    (bad,) = world.add(1, **given)
    result = shut_down(world)
    assert not result["ok"]
    assert outcomes(result)[bad.id] == "left_running"
    assert bad.state == "running"
    assert world.states()["stopping"] == 3
    told = world.alerts[0]
    assert told["TopicArn"] == TOPIC
    assert "1 left_running, 3 stopped" in told["Subject"]
    assert f"{bad.id}): left_running, {reason}" in told["Message"]
    assert metrics(world)["HostsLeftRunning"] == 1


@pytest.mark.parametrize("given", [{"ends": "Failed"}, {"takes": None}, {"reachable": False}])
def test_by_policy_a_host_that_does_not_confirm_is_stopped_and_reported(world: World, given: dict[str, Any]) -> None:
    (bad,) = world.add(1, **given)
    result = shut_down(world, ON_DRAIN_FAILURE="stop")
    assert outcomes(result)[bad.id] == "stopped_undrained"
    assert bad.state == "stopping"
    assert len(world.alerts) == 1


def test_one_unreachable_host_does_not_cost_its_batch(world: World) -> None:
    world.add(49)
    (bad,) = world.add(1, reachable=False)
    result = shut_down(world, DRAIN_ATTEMPTS="1")
    assert [id_ for id_, outcome in outcomes(result).items() if outcome != "stopped"] == [bad.id]
    assert world.calls["SendCommand"] < 15


def test_one_host_that_can_not_be_stopped_does_not_cost_its_batch(world: World) -> None:
    world.add(49)
    (bad,) = world.add(1, stoppable=False)
    result = shut_down(world)
    assert outcomes(result)[bad.id] == "stop_failed"
    assert "could not be stopped" in world.alerts[0]["Message"]
    assert world.states() == {"stopping": 49, "running": 1}


def test_a_host_that_dies_in_its_drain_is_no_alarm(world: World) -> None:
    world.add(1)
    (dying,) = world.add(1, takes=50)

    def die(operation: str) -> None:
        if world.clock.seconds > 20:
            dying.state = "terminated"

    world.before_call = die
    result = shut_down(world)
    assert outcomes(result)[dying.id] == "gone"
    assert result["ok"]


def test_a_host_started_meanwhile_is_shut_down_too(world: World) -> None:
    world.add(1)
    late: list[Any] = []
    world.before_call = lambda op: late.extend(world.add(1)) if op == "StopInstances" and not late else None
    assert shut_down(world)["reason"] == "2 stopped"
    assert world.states() == {"stopping": 2}


def test_two_at_once_come_to_the_same_end(world: World) -> None:
    world.add(60)
    nested: list[dict[str, Any]] = []

    def second(operation: str) -> None:
        if operation == "ListCommandInvocations" and not nested:
            nested.append({})
            nested[0] = shut_down(world)

    world.before_call = second
    first = shut_down(world)
    assert set(outcomes(first).values()) | set(outcomes(nested[0]).values()) <= {"stopped", "gone"}
    assert world.states() == {"stopping": 60}


def test_ssm_that_can_not_be_asked_for_a_while_is_waited_for(world: World) -> None:
    world.add(2)

    def away(operation: str) -> None:
        if operation == "ListCommandInvocations" and world.clock.seconds < 30:
            raise ConnectionError("no route")

    world.before_call = away
    assert shut_down(world)["ok"]


def test_ssm_that_is_away_for_good_leaves_hosts_running_and_says_so(world: World) -> None:
    world.add(2)

    def away(operation: str) -> None:
        if operation == "SendCommand":
            raise ConnectionError("no route")

    world.before_call = away
    assert set(outcomes(shut_down(world)).values()) == {"left_running"}
    assert "no route" in world.alerts[0]["Message"]


def test_an_alert_that_can_not_be_sent_is_an_error_after_the_work(world: World) -> None:
    world.add(1)
    world.add(1, ends="Failed")

    def silent(operation: str) -> None:
        if operation == "Publish":
            raise ConnectionError("no route")

    world.before_call = silent
    with pytest.raises(Exception, match="alert"):
        shut_down(world)
    assert world.states()["stopping"] == 1


def test_a_late_event_stops_nobody(world: World) -> None:
    world.add(1)
    result = shut_down(world, {"scheduled_time": "2028-01-05T13:00:00+00:00"})
    assert not result["ok"]
    assert "29700 s ago" in result["reason"]
    assert world.states() == {"running": 1}
    assert len(world.alerts) == 1


def test_every_host_is_in_the_log_by_name_with_its_reason(world: World) -> None:
    world.add(1)
    (bad,) = world.add(1, ends="Failed")
    shut_down(world)
    said = {line["instance_id"]: line for line in world.lines() if "outcome" in line}
    assert set(said) == set(world.machines)
    assert (said[bad.id]["level"], said[bad.id]["outcome"], said[bad.id]["environment"]) == (
        "WARNING",
        "left_running",
        "qa",
    )


def test_a_one_time_spot_server_is_terminated_after_its_drain_and_a_persistent_one_is_stopped(world: World) -> None:
    world.add(3)
    once, kept = world.add(2, spot="one-time"), world.add(1, spot="persistent")
    (precious,) = world.add(1, spot="one-time", tags={**OWN, "Stateful": "true"})
    result = shut_down(world)
    assert {machine.state for machine in once} == {"shutting-down"}
    assert {outcomes(result)[machine.id] for machine in once} == {"terminated"}
    assert [machine.state for machine in kept] == ["stopping"]
    # Never ended, but not as wanted either: it is drained, runs, and says so.
    assert (precious.state, outcomes(result)[precious.id]) == ("running", "stop_failed")
    # It confirmed that it does not trade any more.
    assert precious.tags["DrainAsked"].startswith("2028-01-05T21:15:")
    assert precious.tags["DrainAsked"].endswith("+00:00 confirmed")
    assert not once[0].tags["DrainAsked"].endswith("confirmed")
    assert "one-time" in world.alerts[0]["Message"]
    assert all(machine.drains == 1 for machine in world.machines.values())


def test_the_fleets_own_protecting_tags_protect_a_spot_server(world: World) -> None:
    world.parameters[FLEET] = fleet_parameter(protect_tags={"Team": "Research"})
    (kept,) = world.add(1, spot="one-time", tags={**OWN, "Team": "research"})
    # Only the fleet's default protects it, which these settings replace.
    (ended,) = world.add(1, spot="one-time", tags={**OWN, "Stateful": "true"})
    result = shut_down(world)
    assert (kept.state, ended.state) == ("running", "shutting-down")
    assert outcomes(result) == {kept.id: "stop_failed", ended.id: "terminated"}
    assert "It is not terminated: it is protected by its tag Team=research" in world.alerts[0]["Message"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "does not exist"),
        ("no json", "is not valid"),
        ('{"schema": 1}', "an older version wrote it"),
        (fleet_parameter(environment="prod"), "is for algo-trading prod"),
        ("denied", "ssm:GetParameter"),
    ],
)
def test_without_the_fleets_settings_all_are_drained_and_none_is_terminated(
    world: World, value: str | None, said: str
) -> None:
    if value is None:
        del world.parameters[FLEET]
    else:
        world.parameters[FLEET] = value

    def denied(operation: str) -> None:
        if value == "denied" and operation == "GetParameter":
            raise AwsError("AccessDeniedException", "not authorized to perform: ssm:GetParameter")

    world.before_call = denied
    plain, spot = world.add(2), world.add(1, spot="one-time")
    result = shut_down(world)
    assert not result["ok"]
    assert {machine.state for machine in plain} == {"stopping"}
    assert [(machine.state, machine.drains) for machine in spot] == [("running", 1)]
    assert world.calls["TerminateInstances"] == 0
    told = world.alerts[0]["Message"].splitlines()
    assert any("No one-time spot instance is terminated" in line and said in line for line in told)
    assert any(spot[0].id in line and "It is not terminated" in line for line in told)


def test_whatever_becomes_of_a_host_its_drain_is_noted_on_it(world: World) -> None:
    world.add(1, takes=None)
    world.add(1, ends="Failed")
    world.add(1, stoppable=False)
    shut_down(world)
    assert all(machine.tags["DrainAsked"] for machine in world.machines.values())


def test_a_drain_that_can_not_be_noted_is_asked_all_the_same(world: World) -> None:
    world.add(2)

    def denied(operation: str) -> None:
        if operation == "CreateTags":
            raise AwsError("UnauthorizedOperation", "not authorized")

    world.before_call = denied
    assert shut_down(world)["ok"]
    assert world.states() == {"stopping": 2}


@pytest.mark.parametrize(
    ("changed", "token", "said"),
    [
        ({"Environment": "prod"}, "ours", "its tag Environment is 'prod', not 'qa'"),
        ({"Component": ""}, "ours", "its tag Component is missing"),
        ({"ManagedBy": "terraform"}, "", "ManagedBy=terraform"),
        ({}, "another's", "its client token belongs to another fleet"),
        # Made by another tool, with tags that are missing or spelled otherwise.
        ({"ManagedBy": "terraform", "Environment": "QA", "Project": ""}, "", "ManagedBy=terraform"),
        ({"ManagedBy": "", "Environment": "", "Project": "", "Component": ""}, "", "its tag Environment is missing"),
    ],
)
def test_a_server_that_may_trade_here_and_is_not_touched_is_reported(
    world: World, changed: dict[str, str], token: str, said: str
) -> None:
    mark = {"ours": Identity(OWN, "p").mark, "another's": "00000000", "": ""}[token]
    world.add(2)
    (stranger,) = world.add(1, tags={**OWN, **changed}, token=f"algo-{mark}-{'0' * 44}-0" if mark else "")
    result = shut_down(world)
    assert not result["ok"]
    assert [entry["instance_id"] for entry in result["not_touched"]] == [stranger.id]
    assert (stranger.state, stranger.drains) == ("running", 0)
    assert world.states() == {"stopping": 2, "running": 1}
    told = next(line for line in world.alerts[0]["Message"].splitlines() if stranger.id in line)
    assert "not drained and not stopped" in told
    assert said in told


def test_a_server_of_another_environment_with_all_our_tags_is_neither_drained_nor_stopped(world: World) -> None:
    world.add(1)
    (theirs,) = world.add(1)
    theirs.tags["Name"] = "algo-trading-trading-server-prod-sma"
    result = shut_down(world)
    assert (theirs.state, theirs.drains) == ("running", 0)
    assert [entry["instance_id"] for entry in result["not_touched"]] == [theirs.id]
    assert "its name belongs to another fleet" in world.alerts[0]["Message"]


def test_another_environments_servers_are_not_reported(world: World) -> None:
    world.add(1)
    prod = {**OWN, "Environment": "prod"}
    world.add(1, tags=prod, token=f"algo-{Identity(prod, 'p').mark}-{'0' * 44}-0")
    world.add(1, tags=prod)
    assert shut_down(world)["ok"]
    assert world.states() == {"stopping": 1, "running": 2}


@pytest.mark.parametrize(("said", "kept"), [(300, 300), (400, 400), (500, 400)])
def test_a_hosts_sentence_is_kept_to_its_end_where_the_remedy_is(said: int, kept: int) -> None:
    remedy = " Start it again with: algo-host boot; or close them there, then: rm /var/lib/algo-trader/undrained"
    line = "x" * (said - len(remedy)) + remedy
    detail = Answer(False, False, "Failed", f"first line\n{line}\n").detail
    assert len(detail) == len("Failed: ") + kept
    assert detail.endswith(remedy if said == kept else "…")
