# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small world for the fleet: moto behind the stand-in, a network, and ways to run and to look."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# The helpers beside the tests; importlib mode puts no test directory on the path.
sys.path.insert(0, str(Path(__file__).parent))

from ansible_collections.algo.trading.plugins.module_utils.fleet.engine import reconcile
from ansible_collections.algo.trading.plugins.module_utils.fleet.placement import CapacityMemory
from ansible_collections.algo.trading.plugins.module_utils.fleet.report import FleetResult
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings
from ec2_standin import StandIn, VirtualClock, client

LIVE = ("pending", "running", "stopping", "stopped")


def models(*numbers: int, version: str = "v1") -> list[dict[str, Any]]:
    symbols = ("GOOG", "EURUSD", "AAPL")
    return [
        {
            "name": f"momentum/{symbols[number % 3]}/sma{number:04d}-outer_0_inner_1",
            "type": "momentum",
            "symbol": symbols[number % 3],
            "model": f"sma{number:04d}",
            "outer": 0,
            "inner": 1,
            "uri": f"s3://models/momentum/{symbols[number % 3]}/sma{number:04d}-outer_0_inner_1",
            "version": version,
        }
        for number in numbers
    ]


@dataclass
class World:
    standin: StandIn
    direct: Any
    subnets: list[str]
    images: list[str]
    environment: str = "test"
    client: Any = None

    def __post_init__(self) -> None:
        # Made once: loading EC2's service model takes longer than a run.
        self.client = self.client or self.standin.client()

    @property
    def clock(self) -> VirtualClock:
        return self.standin.clock

    def settings(self, **changes: Any) -> FleetSettings:
        base = {
            "project": "algo-trading",
            "environment": self.environment,
            "image_id": self.images[0],
            "instance_types": ["t3.nano", "t3.micro"],
            "subnet_ids": self.subnets[:2],
        }
        return FleetSettings.from_dict(base | changes)

    def run(self, wanted: list[dict[str, Any]], *, check: bool = False, **changes: Any) -> FleetResult:
        return reconcile(
            self.settings(**changes),
            wanted,
            self.client,
            check=check,
            clock=self.clock,
            # One memory per run: what this run learns must not help the next.
            memory=CapacityMemory(self.clock),
        )

    def instances(self, environment: str = "") -> list[dict[str, Any]]:
        """What really is there, seen past the stand-in."""
        found = self.direct.describe_instances(
            Filters=[
                {"Name": "tag:Environment", "Values": [environment or self.environment]},
                {"Name": "instance-state-name", "Values": list(LIVE)},
            ]
        )
        return [item for reservation in found["Reservations"] for item in reservation["Instances"]]

    def assert_exactly_one_each(self, wanted: list[dict[str, Any]], state: str = "running") -> None:
        found = self.instances()
        claims = sorted(tags_of(item).get("Model", "") for item in found)
        assert claims == sorted(model["name"] for model in wanted)
        assert {item["State"]["Name"] for item in found} <= {state}
        by_name = {model["name"]: model for model in wanted}
        for item in found:
            tags = tags_of(item)
            assert tags["ModelVersion"] == by_name[tags["Model"]]["version"]
            assert tags["Symbol"] == by_name[tags["Model"]]["symbol"]

    def forget(self) -> None:
        """An empty account and a new client."""
        ids = [item["InstanceId"] for item in self.instances()]
        if ids:
            self.direct.terminate_instances(InstanceIds=ids)
        self.standin.revive()
        self.standin.forget_tokens()


def tags_of(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}


@pytest.fixture
def world(fresh_aws: Any) -> Iterator[World]:
    direct = client(fresh_aws.endpoint)
    subnets = sorted(subnet["SubnetId"] for subnet in direct.describe_subnets()["Subnets"])
    images = [image["ImageId"] for image in direct.describe_images(Owners=["amazon"])["Images"][:2]]
    clock = VirtualClock()
    with StandIn(fresh_aws.endpoint, clock).serve() as standin:
        yield World(standin, direct, subnets, images)
    clock.close()


Make = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def make() -> Make:
    """`make(0, 1, version="v2")` lists models as the lookup would."""
    return models
