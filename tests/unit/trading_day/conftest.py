# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated evening: hosts that drain, fail, hang, vanish. No emulator makes SSM commands fail, so this does."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.document import dump_document, fleet_document

sys.path.insert(0, str(Path(__file__).parents[3] / "lambda"))

OWN = {"Project": "algo-trading", "Environment": "qa", "Component": "trading_server", "ManagedBy": "algo.trading"}
EVENING = datetime(2028, 1, 5, 21, 15, tzinfo=UTC)


def fleet_parameter(**options: Any) -> str:
    """The fleet's settings as the playbook stores them."""
    return dump_document(fleet_document({"project": "algo-trading", "environment": "qa", **options}))


class AwsError(Exception):
    """What botocore raises, as far as the code looks at it."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"An error occurred ({code}): {message}")
        self.response = {"Error": {"Code": code, "Message": message}}


class FakeClock:
    """A clock that moves when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.seconds += seconds

    def now(self) -> datetime:
        return EVENING + timedelta(seconds=self.seconds)


@dataclass
class Machine:
    """One simulated host. `takes` is how long its drain takes; None for one that hangs."""

    id: str
    state: str = "running"
    tags: dict[str, str] = field(default_factory=lambda: dict(OWN))
    takes: float | None = 5.0
    ends: str = "Success"
    reachable: bool = True
    stoppable: bool = True
    # Not a spot instance, or the type of its request.
    spot: str = ""
    token: str = ""
    # How often a drain still fails before it works, counted down.
    fails_first: int = 0
    drains: int = 0


class World:
    """EC2, SSM and SNS over the same machines."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.machines: dict[str, Machine] = {}
        self.calls: Counter[str] = Counter()
        self.batches: list[list[str]] = []
        self.sent: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        # Events with which the function has invoked itself.
        self.handed: list[dict[str, Any]] = []
        self.impaired: set[str] = set()
        self.commands: dict[str, dict[str, tuple[float, str]]] = {}
        self.blind_filter = False
        self.parameters = {"/algo-trading/qa/trading_server/fleet": fleet_parameter(), "/algo-trading/qa/halt": "false"}
        self.before_call: Callable[[str], None] = lambda operation: None
        self.log = io.StringIO()

    def add(self, number: int = 1, **given: Any) -> list[Machine]:
        start = len(self.machines)
        made = [Machine(f"i-{n:017x}", **given) for n in range(start, start + number)]
        for machine in made:
            machine.tags = {
                **machine.tags,
                "Name": f"server-{machine.id[-3:]}",
                "Model": f"sma/AAPL/{machine.id}-outer_0_inner_0",
            }
            self.machines[machine.id] = machine
        return made

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def states(self) -> Counter[str]:
        return Counter(machine.state for machine in self.machines.values())

    def _called(self, operation: str) -> None:
        self.calls[operation] += 1
        self.before_call(operation)

    # ---- EC2 ----

    def get_paginator(self, operation: str) -> Paginator:
        return Paginator(getattr(self, f"_{operation}"))

    def _describe_instances(self, Filters: list[dict[str, Any]], **_paging: Any) -> Iterator[dict[str, Any]]:
        wanted = {item["Name"]: item["Values"] for item in Filters}
        states = wanted.pop("instance-state-name")
        found = [m for m in self.machines.values() if m.state in states and (self.blind_filter or _fits(m, wanted))]
        for start in range(0, max(len(found), 1), 1000):
            self._called("DescribeInstances")
            yield {"Reservations": [{"Instances": [_described(m) for m in found[start : start + 1000]]}]}

    def stop_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        self._called("StopInstances")
        self.batches.append(InstanceIds)
        self._check(InstanceIds)
        if spot := [id_ for id_ in InstanceIds if self.machines[id_].spot == "one-time"]:
            raise AwsError(
                "UnsupportedOperation",
                f"You can't stop the Spot Instance '{spot[0]}' because it is associated with a one-time Spot Instance "
                "request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
            )
        if stuck := [id_ for id_ in InstanceIds if not self.machines[id_].stoppable]:
            raise AwsError("UnsupportedOperation", f"{stuck[0]} can't be stopped")
        for id_ in InstanceIds:
            self.machines[id_].state = "stopping"
        return {}

    def terminate_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        self._called("TerminateInstances")
        for id_ in InstanceIds:
            self.machines[id_].state = "shutting-down"
        return {}

    def create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> dict[str, Any]:
        self._called("CreateTags")
        for id_ in Resources:
            self.machines[id_].tags.update({tag["Key"]: tag["Value"] for tag in Tags})
        return {}

    def describe_instance_status(self, InstanceIds: list[str]) -> dict[str, Any]:
        self._called("DescribeInstanceStatus")
        assert len(InstanceIds) <= 100
        return {
            "InstanceStatuses": [
                {"InstanceId": id_, "InstanceStatus": {"Status": "impaired" if id_ in self.impaired else "ok"}}
                for id_ in InstanceIds
            ]
        }

    def start_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        self._called("StartInstances")
        self._check(InstanceIds)
        for id_ in InstanceIds:
            self.machines[id_].state = "pending"
        return {}

    def _check(self, ids: list[str]) -> None:
        if gone := [id_ for id_ in ids if self.machines[id_].state == "terminated"]:
            raise AwsError("IncorrectInstanceState", f"{gone[0]} is terminated")

    # ---- SSM ----

    def get_parameter(self, Name: str) -> dict[str, Any]:
        self._called("GetParameter")
        if Name not in self.parameters:
            raise AwsError("ParameterNotFound")
        return {"Parameter": {"Value": self.parameters[Name]}}

    def send_command(self, InstanceIds: list[str], **given: Any) -> dict[str, Any]:
        self._called("SendCommand")
        assert len(InstanceIds) <= 50
        self.sent.append(given)
        if away := [id_ for id_ in InstanceIds if not self.machines[id_].reachable]:
            raise AwsError("InvalidInstanceId", f"{away[0]} is not in a valid state")
        command = f"command-{len(self.commands)}"
        self.commands[command] = {id_: self._begin(self.machines[id_]) for id_ in InstanceIds}
        return {"Command": {"CommandId": command}}

    def _begin(self, machine: Machine) -> tuple[float, str]:
        machine.drains += 1
        ends = machine.ends
        if machine.fails_first:
            machine.fails_first -= 1
            ends = "Failed"
        return self.clock.seconds + (1e9 if machine.takes is None else machine.takes), ends

    def _status(self, command: str, id_: str) -> dict[str, Any]:
        at, ends = self.commands[command][id_]
        status = ends if self.clock.seconds >= at and self.machines[id_].state == "running" else "InProgress"
        return {"InstanceId": id_, "Status": status, "StatusDetails": status}

    def _list_command_invocations(self, CommandId: str, Details: bool) -> Iterator[dict[str, Any]]:
        assert Details
        self._called("ListCommandInvocations")
        statuses = [self._status(CommandId, id_) for id_ in self.commands[CommandId]]
        yield {"CommandInvocations": [{**s, "CommandPlugins": [{"Output": "persisted\n"}]} for s in statuses]}

    # ---- Lambda ----

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:
        self._called("Invoke")
        assert FunctionName == "algo-trading-trading-server-shutdown-qa"
        assert InvocationType == "Event"
        assert len(Payload) < 256 * 1024
        self.handed.append(json.loads(Payload))
        return {"StatusCode": 202}

    # ---- SNS ----

    def publish(self, **message: Any) -> None:
        self._called("Publish")
        self.alerts.append(message)


class Paginator:
    def __init__(self, pages: Callable[..., Iterator[dict[str, Any]]]) -> None:
        self._pages = pages

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        arguments.pop("PaginationConfig", None)
        return self._pages(**arguments)


def _fits(machine: Machine, filters: dict[str, list[str]]) -> bool:
    return all(
        bool(machine.tags.keys() & set(values)) if name == "tag-key" else machine.tags.get(name[4:]) in values
        for name, values in filters.items()
    )


def _described(machine: Machine) -> dict[str, Any]:
    tags = [{"Key": key, "Value": value} for key, value in machine.tags.items()]
    described = {"InstanceId": machine.id, "State": {"Name": machine.state}, "Tags": tags, "ClientToken": machine.token}
    return described | ({"InstanceLifecycle": "spot"} if machine.spot else {})


@pytest.fixture
def world() -> World:
    return World()
