# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A shutdown out of time hands over to itself; killed anywhere, twice at once or slowed down, it ends the same."""

from __future__ import annotations

import re
import shlex
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from ansible.parsing.splitter import parse_kv
from ansible_collections.algo.trading.plugins.module_utils._errors import InvalidInput
from ansible_collections.algo.trading.plugins.module_utils.fleet.pacing import Limit, TokenBucket
from ansible_collections.algo.trading.tests.unit.trading_day.conftest import EVENING, OWN, AwsError
from ansible_collections.algo.trading.tests.unit.trading_day.test_shutdown import outcomes, shut_down
from trading_day import events, handover, shutdown

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.unit.trading_day.conftest import World

# Lambda: the first try of an asynchronous invocation, and its retries.
TRIES = 3
# What AWS publishes, written down again on purpose: the test must not believe the code under test.
LIMITS = {
    "DescribeInstances": Limit(100, 20),
    "DescribeInstanceStatus": Limit(100, 20),
    "CreateTags": Limit(100, 10),
    "StopInstances": Limit(50, 5),
    "TerminateInstances": Limit(100, 5),
}


class Killed(BaseException):
    """The function's process is gone."""


class Evening:
    """What Lambda does with one event: tries, and what the function sends itself."""

    def __init__(self, world: World, limit: float = 900, **env: str) -> None:
        self.world, self.limit, self.env = world, limit, env
        self.results: list[dict[str, Any]] = []
        self.durations: list[float] = []
        self.failures: list[BaseException] = []

    def run(self, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Until nothing is left to invoke; returns the last result."""
        waiting = [event or {"scheduled_time": EVENING.isoformat()}]
        while waiting:
            self._invoke(waiting.pop(0))
            waiting += self.world.handed
            self.world.handed.clear()
        return self.results[-1] if self.results else {}

    def _invoke(self, event: dict[str, Any]) -> None:
        for _try in range(TRIES):
            began = self.world.clock.seconds
            try:
                self.results.append(shut_down(self.world, event, self.limit - 60, **self.env))
            except (Exception, Killed) as error:
                self.failures.append(error)
                self.world.clock.seconds += 60  # the retry's delay
            else:
                return
            finally:
                self.durations.append(self.world.clock.seconds - began)


def slow(world: World, **seconds: float) -> Callable[[str], None]:
    """Calls that take their time."""

    def call(operation: str) -> None:
        world.clock.seconds += seconds.get(operation, 0)

    return call


def limited(world: World) -> Counter[str]:
    """AWS's request limits; returns the count of refusals."""
    buckets = {name: TokenBucket(limit.bucket, limit.refill, 0) for name, limit in LIMITS.items()}
    refused: Counter[str] = Counter()

    def call(operation: str) -> None:
        world.clock.seconds += 0.05
        bucket = buckets.get(operation)
        if bucket and bucket.take(1, world.clock.seconds) > 0:
            bucket.take(-1, world.clock.seconds)  # a refused request costs nothing
            refused[operation] += 1
            raise AwsError("RequestLimitExceeded", "Request limit exceeded.")

    world.before_call = call
    return refused


def test_time_that_ends_at_host_400_of_1000_is_handed_over_until_all_are_stopped(world: World) -> None:
    world.add(1000, takes=30)
    # Eight commands to fifty hosts each, then half of the time is over.
    world.before_call = slow(world, SendCommand=55)
    evening = Evening(world)
    last = evening.run()
    assert evening.results[0]["handed_over"]
    assert not evening.results[0]["ok"]
    assert evening.results[0]["reason"] == "400 stopped, 600 unfinished"
    assert (last["ok"], last["handed_over"]) == (True, False)
    assert world.states() == {"stopping": 1000}
    assert len(evening.results) == 3
    assert max(evening.durations) < 900
    assert {line["run"] for line in world.lines() if "run" in line} == {"run-1"}
    # People know that it goes on, and that they need not act.
    assert all("continues by itself" in alert["Message"] for alert in world.alerts)
    assert world.alerts[0]["Subject"].endswith("Shutdown continues: 400 stopped, 600 unfinished")


@pytest.mark.parametrize("hosts", [1, 1000])
def test_a_fleet_of_every_kind_of_host_ends_within_lambdas_limits(world: World, hosts: int) -> None:
    """AWS's request limits, drains of seconds to minutes, hosts that fail, hang, vanish from SSM, cannot be stopped."""
    for number in range(hosts):
        (machine,) = world.add(1, takes=2 + number * 37 % 180)
        if number % 50 == 17:
            machine.fails_first = 1
        if number % 100 == 33:
            machine.ends = "Failed"
        if number % 250 == 66:
            machine.takes = None
        if number % 250 == 99:
            machine.reachable = False
        if number % 250 == 140:
            machine.stoppable = False
        if number % 25 == 11:
            machine.spot = "one-time"
    refused = limited(world)
    evening = Evening(world)
    tracemalloc.start()
    evening.run()
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20
    assert max(evening.durations) < 900
    assert not evening.failures
    found = {host["instance_id"]: host["outcome"] for result in evening.results for host in result["hosts"]}
    assert found.keys() == world.machines.keys()
    for machine in world.machines.values():
        bad = machine.ends == "Failed" or machine.takes is None or not machine.reachable
        expected = "left_running" if bad else "stop_failed" if not machine.stoppable else "stopped"
        if expected == "stopped" and machine.spot:
            expected = "terminated"
        assert found[machine.id] == expected, machine
        assert (machine.state == "running") == (expected in ("left_running", "stop_failed"))
    told = world.alerts[-1]["Message"] if world.alerts else ""
    assert all(m.id in told for m in world.machines.values() if m.state == "running")
    # Splitting a batch around a host that fails must not become a storm.
    assert refused.total() <= 20


def test_killed_at_any_call_the_next_try_comes_to_the_same_end(world: World) -> None:
    world.add(60)
    (bad,) = world.add(1, ends="Failed")
    Evening(world).run()
    calls = world.calls.total()
    assert calls > 15
    for number in range(calls):
        again = type(world)()
        again.add(60)
        (bad,) = again.add(1, ends="Failed")
        count = iter(range(calls * 9))

        def die(operation: str, at: int = number, count: Any = count) -> None:
            if next(count) == at:
                raise Killed(operation)

        again.before_call = die
        evening = Evening(again)
        last = evening.run()
        assert [type(error) for error in evening.failures] == [Killed]
        assert again.states() == {"stopping": 60, "running": 1}, f"killed at call {number}"
        assert outcomes(last)[bad.id] == "left_running"
        assert bad.id in again.alerts[-1]["Message"]


def test_a_second_one_that_begins_at_any_call_comes_to_the_same_end(world: World) -> None:
    world.add(60)
    Evening(world).run()
    for number in range(world.calls.total()):
        again = type(world)()
        again.add(60)
        count = iter(range(10_000))

        def second(operation: str, at: int = number, count: Any = count, again: World = again) -> None:
            if next(count) == at:
                assert Evening(again).run()["ok"]

        again.before_call = second
        assert Evening(again).run()["ok"]
        assert again.states() == {"stopping": 60}


def test_a_host_that_loses_its_tags_in_its_drain_is_not_taken_for_stopped(world: World) -> None:
    world.add(2)
    (lost,) = world.add(1, takes=60)

    def retag(operation: str) -> None:
        if world.clock.seconds > 20:
            lost.tags["Environment"] = "elsewhere"
            lost.stoppable = False

    world.before_call = retag
    result = shut_down(world)
    assert outcomes(result)[lost.id] == "retagged"
    assert not result["ok"]
    assert "Environment is 'elsewhere', not 'qa'" in world.alerts[0]["Message"]
    assert lost.state == "running"


def test_a_host_that_loses_its_tags_between_two_invocations_is_not_forgotten(world: World) -> None:
    world.add(2)
    (lost,) = world.add(1, takes=400)
    first = shut_down(world, limit=100, DRAIN_TIMEOUT="600")
    assert first["handed_over"]
    lost.tags = {"Name": "mine now"}
    (event,) = world.handed
    last = shut_down(world, event)
    assert outcomes(last) == {lost.id: "retagged"}
    assert lost.id in world.alerts[-1]["Message"]


def test_a_host_that_ec2_calls_impaired_is_named_so(world: World) -> None:
    (bad,) = world.add(1, reachable=False)
    world.impaired.add(bad.id)
    shut_down(world)
    assert "EC2 reports it impaired (instance status check)" in world.alerts[0]["Message"]


def test_the_alert_has_the_command_to_type(world: World) -> None:
    (bad,) = world.add(1, ends="Failed")
    shut_down(world)
    told = world.alerts[0]["Message"]
    (command,) = re.findall(r"To try again: (ansible-playbook .*)", told)
    words = shlex.split(command)
    assert words[:4] == ["ansible-playbook", "-i", "inventories/qa", "playbooks/drain.yml"]
    given = [parse_kv(value) for flag, value in pairwise(words) if flag == "-e"]
    assert given == [{"algo_models": bad.tags["Model"]}, {"algo_reason": "left running by the shutdown"}]
    assert "aws logs filter-log-events --log-group-name /aws/lambda/algo-trading-trading-server-shutdown-qa" in told
    assert "run-1" in told


def test_the_policy_waits_for_all_attempts_also_over_several_invocations(world: World) -> None:
    (bad,) = world.add(1, ends="Failed")
    (slow_one,) = world.add(1, takes=400)
    env = {"DRAIN_TIMEOUT": "600", "ON_DRAIN_FAILURE": "stop"}
    first = shut_down(world, limit=50, **env)
    # Never by policy: they were not given their time.
    assert outcomes(first) == {bad.id: "unfinished", slow_one.id: "unfinished"}
    assert bad.state == slow_one.state == "running"
    assert world.handed[0]["handover"]["attempts"] == {bad.id: 1, slow_one.id: 0}
    last = Evening(world, **env).run(world.handed.pop())
    assert outcomes(last) == {bad.id: "stopped_undrained", slow_one.id: "stopped"}
    assert bad.drains == 2


def test_a_host_that_had_all_its_attempts_is_not_drained_again_by_the_next_invocation(world: World) -> None:
    (bad,) = world.add(1, ends="Failed")
    world.add(1, takes=700)
    evening = Evening(world, limit=500, DRAIN_TIMEOUT="800", DRAIN_ATTEMPTS="1")
    last = evening.run()
    assert len(evening.results) > 1
    assert bad.drains == 1
    assert outcomes(last)[bad.id] == "left_running"
    assert f"{bad.id}): left_running, did not confirm its drain" in world.alerts[-1]["Message"]


def test_it_hands_over_so_often_and_then_ends_as_an_error_that_names_the_hosts(world: World) -> None:
    (endless,) = world.add(1, takes=1e6)
    evening = Evening(world, DRAIN_TIMEOUT="5000")
    evening.run()
    assert len(evening.results) == handover.MOST
    assert {type(error) for error in evening.failures} == {shutdown.ShutdownUnfinished}
    assert endless.id in world.alerts[-1]["Message"]
    assert "needs attention" in world.alerts[-1]["Subject"]


def test_without_permission_to_hand_over_lambdas_retries_continue(world: World) -> None:
    (slow_one,) = world.add(1, takes=400)

    def denied(operation: str) -> None:
        if operation == "Invoke":
            raise AwsError("AccessDeniedException", "not authorized to perform: lambda:InvokeFunction")

    world.before_call = denied
    with pytest.raises(shutdown.ShutdownUnfinished):
        shut_down(world, limit=100, DRAIN_TIMEOUT="600")
    assert "lambda:InvokeFunction" in world.alerts[0]["Message"]
    assert shut_down(world, DRAIN_TIMEOUT="600")["ok"]
    assert slow_one.state == "stopping"


def test_ec2_that_can_not_be_asked_again_is_asked_by_the_next_invocation(world: World) -> None:
    world.add(3)

    def away(operation: str) -> None:
        if operation == "DescribeInstances" and world.calls["StopInstances"] and not world.handed:
            raise ConnectionError("no route")

    world.before_call = away
    first = shut_down(world)
    assert first["handed_over"]
    assert "Whether the servers stopped is not known" in world.alerts[0]["Message"]
    world.before_call = lambda operation: None
    assert Evening(world).run(world.handed.pop())["ok"]


def test_a_throttled_drain_is_no_verdict_on_a_host(world: World) -> None:
    world.add(120)

    def throttled(operation: str) -> None:
        if operation in ("SendCommand", "StopInstances") and world.clock.seconds < 200:
            raise AwsError("ThrottlingException", "Rate exceeded")

    world.before_call = throttled
    assert Evening(world, ON_DRAIN_FAILURE="stop").run()["ok"]
    assert world.states() == {"stopping": 120}
    assert all(machine.drains for machine in world.machines.values())


def test_only_models_that_were_chosen_are_handed_over(world: World) -> None:
    chosen, other = world.add(1, takes=400)[0], world.add(1)[0]
    event = {"models": [chosen.tags["Model"]], "reason": "by the desk: wrong prices"}
    shut_down(world, event, limit=100, DRAIN_TIMEOUT="600")
    assert {key: world.handed[0][key] for key in event} == event
    assert Evening(world, DRAIN_TIMEOUT="600").run(world.handed.pop())["ok"]
    assert (chosen.state, other.state) == ("stopping", "running")


def test_a_handover_that_lay_around_is_refused(world: World) -> None:
    world.add(1, takes=400)
    shut_down(world, {"scheduled_time": EVENING.isoformat()}, limit=100, DRAIN_TIMEOUT="600")
    (event,) = world.handed
    # The run is older than an event may be; what was handed over is not.
    world.clock.seconds += timedelta(minutes=59).total_seconds()
    assert "s ago" not in shut_down(world, event, DRAIN_TIMEOUT="600")["reason"]
    world.clock.seconds += timedelta(hours=14).total_seconds()
    assert "s ago" in shut_down(world, event)["reason"]


@pytest.mark.parametrize(
    "value",
    [1, {}, {"run": "a", "number": 0, "sent": EVENING.isoformat(), "attempts": {}}, {"run": "a", "number": 1}],
)
def test_a_handover_of_another_form_is_refused(world: World, value: Any) -> None:
    world.add(1, tags=OWN)
    with pytest.raises(InvalidInput, match="handover is not as this function writes it"):
        shut_down(world, {"handover": value})
    assert not world.calls


def test_a_handover_survives_its_event() -> None:
    left = events.Handover("run-1", 3, EVENING, {"i-0": 2})
    assert events._handover(left.as_dict()) == left
