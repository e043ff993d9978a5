# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a plan holds although it differs: starts during a halt, and types that the image cannot run on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.desired import Server, desired_servers
from ansible_collections.algo.trading.plugins.module_utils.fleet.instances import Instance
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import Line
from ansible_collections.algo.trading.plugins.module_utils.fleet.planner import make_plan
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings

NOW = datetime(2025, 6, 3, 15, 0, tzinfo=UTC)
HALT = "trading is halted: /p/qa/halt is 'true'"
NAME = "t/S/m0-outer_0_inner_0"
BASE: dict[str, Any] = {
    "project": "p",
    "environment": "qa",
    "image_id": "ami-arm",
    "instance_types": ["t4g.small"],
    "subnet_ids": ["subnet-a"],
}


def server_of(how: FleetSettings, version: str = "v1") -> Server:
    model = {"name": NAME, "type": "t", "symbol": "S", "model": "m0", "version": version}
    return desired_servers(how, [model])[0]


def as_wanted(**changes: Any) -> Instance:
    """The running instance that BASE wants."""
    server = server_of(FleetSettings.from_dict(BASE))
    tags = {**dict(server.spec.tags), **dict(server.claim_tags)}
    made = Instance(
        id="i-00000000",
        type="t4g.small",
        image_id="ami-arm",
        subnet_id="subnet-a",
        launch_time=NOW - timedelta(days=1),
        tags=tags,
    )
    return replace(made, **changes)


def planned(instances: list[Instance], *, halt: str = "", version: str = "v1", **changes: Any) -> Line:
    how = FleetSettings.from_dict(BASE | changes)
    lines = make_plan(how, [server_of(how, version)], instances, NOW, halt=halt).lines
    assert len(lines) == 1, [str(line) for line in lines]
    return lines[0]


@pytest.mark.parametrize(
    ("instances", "changes", "held"),
    [
        ([], {}, "create"),
        ([as_wanted(state="stopped")], {}, "start"),
        ([as_wanted()], {"version": "v2"}, "restart"),
        ([as_wanted()], {"image_id": "ami-arm-2"}, "replace"),
    ],
)
def test_a_halt_holds_whatever_would_start(instances: list[Instance], changes: dict[str, Any], held: str) -> None:
    assert planned(instances, **changes).action == held
    line = planned(instances, halt=HALT, **changes)
    assert (line.action, line.held, line.tags, line.attributes) == ("hold", held, (), ())
    assert line.reason.startswith(f"{held} is held: {HALT} (")


def test_a_halt_holds_the_adoption_of_what_a_run_has_left() -> None:
    tags = {key: value for key, value in as_wanted().tags.items() if not key.startswith(("Model", "Symbol"))}
    assert planned([as_wanted(tags=tags)]).action == "adopt"
    line = planned([as_wanted(tags=tags)], halt=HALT)
    assert (line.action, line.held, line.instance_id) == ("hold", "adopt", "i-00000000")


def test_a_halt_keeps_nothing_running() -> None:
    assert planned([as_wanted()], halt=HALT).action == "no-op"
    assert planned([as_wanted()], halt=HALT, power="stopped").action == "stop"
    how = FleetSettings.from_dict(BASE)
    [line] = make_plan(how, [], [as_wanted()], NOW, halt=HALT).lines
    assert line.action == "terminate"


@pytest.mark.parametrize(
    ("policy", "image", "action", "held"),
    [
        ("replace", "ami-intel", "replace", ""),
        # The image stays: neither way can the server run again.
        ("replace", "ami-arm", "hold", "replace"),
        ("restart", "ami-arm", "hold", "restart"),
    ],
)
def test_another_architecture_needs_another_image(policy: str, image: str, action: str, held: str) -> None:
    changes = {"instance_types": ["t3.small"], "image_id": image, "on_change": {"instance_type": policy}}
    line = planned([as_wanted()], **changes)
    assert (line.action, line.held) == (action, held)
    if held:
        assert "t3.small is x86_64, image ami-arm is arm64; set an image for x86_64" in line.reason


@pytest.mark.parametrize("policy", ["replace", "restart"])
def test_a_stopped_server_starts_as_it_is_rather_than_not_at_all(policy: str) -> None:
    line = planned([as_wanted(state="stopped")], instance_types=["t3.small"], on_change={"instance_type": policy})
    assert (line.action, line.attributes) == ("start", ())
    assert "its type is not changed: t3.small is x86_64" in line.reason


def test_the_same_architecture_is_changed_as_before() -> None:
    line = planned([as_wanted()], instance_types=["m7g.large"], on_change={"instance_type": "restart"})
    assert (line.action, line.attributes) == ("restart", (("InstanceType", "m7g.large"),))
