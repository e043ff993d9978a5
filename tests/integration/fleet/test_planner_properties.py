# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner over arbitrary wanted models and arbitrary instances. Pure, so no AWS is needed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.desired import Server, desired_servers
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import GuardError
from ansible_collections.algo.trading.plugins.module_utils.fleet.instances import Instance
from ansible_collections.algo.trading.plugins.module_utils.fleet.ownership import OURS, Identity, standing
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import (
    ADOPT,
    CHANGING,
    CREATE,
    HOLD,
    LEAVE,
    RECONFIGURE,
    REPLACE,
    RESTART,
    START,
    STOP,
    TERMINATE,
    Plan,
)
from ansible_collections.algo.trading.plugins.module_utils.fleet.planner import make_plan
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings

hypothesis = pytest.importorskip("hypothesis", reason="property tests need hypothesis")
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

NOW = datetime(2025, 6, 3, 15, 0, tzinfo=UTC)
IMAGES, TYPES, SUBNETS = ("ami-1", "ami-2"), ("t3.nano", "t3.micro", "m5.large"), ("subnet-a", "subnet-b", "subnet-c")
NAMES = tuple(f"{kind}/{symbol}/m{number}-outer_0_inner_0" for kind in "ab" for symbol in "XY" for number in range(2))


def model(name: str, version: str) -> dict[str, Any]:
    kind, symbol, rest = name.split("/")
    return {"name": name, "type": kind, "symbol": symbol, "model": rest.split("-")[0], "version": version}


wanted_models = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(("v1", "v2")), max_size=8).map(
    lambda chosen: [model(name, version) for name, version in chosen.items()]
)
fleet_settings = st.builds(
    lambda **changes: FleetSettings.from_dict(
        {"project": "p", "environment": "e", "image_id": "ami-1", "instance_types": ["t3.nano", "t3.micro"]}
        | {"subnet_ids": ["subnet-a", "subnet-b"]}
        | changes
    ),
    power=st.sampled_from(("running", "keep", "stopped")),
    state=st.sampled_from(("present", "present", "present", "absent")),
    max_terminate_share=st.sampled_from((0, 0.2, 0.5, 1)),
    replace=st.fixed_dictionaries({"surge": st.booleans()}),
    once=st.fixed_dictionaries({"force": st.booleans()}),
    session=st.sampled_from((None, {"open": "09:30", "close": "16:00"}, {"open": "17:00", "close": "18:00"})),
    selection=st.sampled_from(({}, {}, {"symbols": ["X"]}, {"types": ["a"]})),
    on_change=st.fixed_dictionaries(
        {
            "version": st.sampled_from(("restart", "reconfigure", "replace", "ignore")),
            "image": st.sampled_from(("replace", "ignore")),
            "configuration": st.sampled_from(("replace", "restart", "reconfigure", "ignore")),
            "subnet": st.sampled_from(("replace", "ignore")),
        }
    ),
)


def identity(settings: FleetSettings) -> Identity:
    return Identity(settings.identity_tags, settings.name_prefix)


def ours(settings: FleetSettings, instances: list[Instance]) -> list[Instance]:
    return [item for item in instances if item.live and standing(item, identity(settings)).kind == OURS]


def claim(settings: FleetSettings, name: str, version: str) -> Server:
    return desired_servers(replace(settings, state="present"), [model(name, version)])[0]


def reference(settings: FleetSettings) -> Server:
    return desired_servers(replace(settings, state="present"), [model(NAMES[0], "v1")])[0]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[FleetSettings, list[Server], list[Instance]]:
    settings = draw(fleet_settings)
    servers = desired_servers(settings, draw(wanted_models))
    spec = reference(settings).spec
    instances = []
    for number in range(draw(st.integers(0, 10))):
        tags = dict(settings.identity_tags)
        name = draw(st.sampled_from(("", *NAMES)))
        if name:
            tags |= dict(claim(settings, name, draw(st.sampled_from(("v1", "v2")))).claim_tags)
        tags["LaunchDigest"] = draw(st.sampled_from((spec.launch_digest, spec.launch_digest, "other")))
        tags["ConfigDigest"] = draw(st.sampled_from((spec.config_digest, spec.config_digest, "other")))
        if draw(st.integers(0, 9)) == 0:
            tags["Stateful"] = "true"
        if draw(st.integers(0, 5)) == 0:
            tags["DrainAsked"] = "2025-06-02T20:15:00+00:00" + draw(st.sampled_from(("", " confirmed")))
        token = ""
        edit = draw(st.sampled_from(("", "", "", "", "Environment", "Project", "ManagedBy", "terraform")))
        if edit == "terraform":
            tags["ManagedBy"] = "terraform"
        elif edit:
            tags[edit] = draw(st.sampled_from(("", "other")))
            token = f"algo-{identity(settings).mark}-{'0' * 44}-0"
        instances.append(
            Instance(
                id=f"i-{number:08x}",
                state=draw(
                    st.sampled_from(
                        ("pending", "running", "running", "stopping", "stopped", "shutting-down", "terminated")
                    )
                ),
                type=draw(st.sampled_from(TYPES)),
                image_id=draw(st.sampled_from(IMAGES)),
                subnet_id=draw(st.sampled_from(SUBNETS)),
                launch_time=NOW - timedelta(seconds=draw(st.sampled_from((5, 5, 1000, 90000)))),
                launch_index=draw(st.integers(0, 3)),
                lifecycle=draw(st.sampled_from(("", "", "spot"))),
                client_token=token,
                tags=tags,
            )
        )
    return settings, servers, draw(st.permutations(instances))


def carried_out(plan: Plan, instances: list[Instance]) -> list[Instance]:
    """What the account looks like after the plan, by the simplest reading of each line."""
    world = {item.id: item for item in instances if item.live}
    for number, line in enumerate(plan.lines):
        if line.action in (TERMINATE, REPLACE):
            del world[line.instance_id]
        if line.action in (CREATE, REPLACE):
            assert line.server
            spec = line.server.spec
            fresh = world.pop(line.successor, None) or Instance(
                id=f"i-n{number:07x}",
                type=spec.settings.instance_types[0],
                image_id=spec.settings.image_id,
                subnet_id=line.server.home,
                launch_time=NOW,
                tags=dict(spec.tags),
            )
            world[fresh.id] = fresh.with_tags(dict(line.server.claim_tags)).with_state("running")
        if line.action == ADOPT:
            assert line.server
            world[line.instance_id] = world[line.instance_id].with_tags(
                {**dict(line.server.claim_tags), "DrainAsked": ""}
            )
        if line.action in (START, STOP, RESTART, RECONFIGURE):
            attributes = dict(line.attributes)
            old = world[line.instance_id].with_tags(dict(line.tags))
            if line.action == RESTART:
                # As the rolling change does after a restart.
                old = old.with_tags({"DrainAsked": ""})
            old = replace(old, type=attributes.get("InstanceType", old.type))
            state = {START: "running", STOP: "stopped"}.get(line.action, old.state)
            world[line.instance_id] = old.with_state(state)
    return list(world.values())


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_every_wanted_model_and_every_instance_has_exactly_one_line_with_a_reason(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    assert all(line.reason for line in plan.lines)
    lines_of_instances = Counter(line.instance_id for line in plan.lines if line.instance_id)
    # One that is not ours has a line only if a person has to look at it.
    strangers = {item.id for item in instances} - {item.id for item in ours(settings, instances)}
    assert all(line.alarm and line.action == LEAVE for line in plan.lines if line.instance_id in strangers)
    lines_of_instances = Counter({id_: n for id_, n in lines_of_instances.items() if id_ not in strangers})
    lines_of_instances += Counter(line.successor for line in plan.lines if line.successor)
    assert set(lines_of_instances.values()) <= {1}
    selected = settings.selection
    mine = {
        item.id
        for item in ours(settings, instances)
        if (
            not item.model
            or selected.matches(
                type_=item.tags["ModelType"], symbol=item.tags["Symbol"], model=item.tags["ModelName"], name=item.model
            )
        )
    }
    assert set(lines_of_instances) == mine
    if settings.state == "present":
        wanted = {
            server.name
            for server in servers
            if selected.matches(
                type_=server.model.type, symbol=server.model.symbol, model=server.model.model, name=server.name
            )
        }
        with_server = Counter(line.model for line in plan.lines if line.server)
        assert set(with_server) == wanted
        assert set(with_server.values()) <= {1}


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_the_plan_depends_on_what_is_there_and_not_on_its_order(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    assert make_plan(settings, servers, sorted(instances, key=lambda item: item.id), NOW) == plan


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_a_plan_that_is_carried_out_leaves_one_server_per_model_and_nothing_more_to_do(world: Any) -> None:
    settings, servers, instances = world
    after = carried_out(make_plan(settings, servers, instances, NOW), instances)
    again = make_plan(settings, servers, after, NOW)
    # A stopped instance that was adopted is started by the same run; the plan itself says so one step later.
    left = [line for line in again.lines if line.action in CHANGING and line.action not in (START, STOP)]
    assert not left, [str(line) for line in left]
    claims = Counter(item.model for item in ours(settings, after) if item.model and "Stateful" not in item.tags)
    if settings.state == "present" and settings.selection.everything:
        held = {line.model for line in again.lines if line.action == HOLD}
        for server in servers:
            if server.name not in held:
                assert claims[server.name] <= 1
                assert any(item.model == server.name for item in after)


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_protected_instances_and_an_open_session_are_respected(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    by_id = {item.id: item for item in instances}
    # 15:00 UTC is 11:00 in New York, on a Tuesday.
    opened = settings.session and settings.session.reason(NOW) and not settings.force
    for line in plan.lines:
        item = by_id.get(line.instance_id)
        if item is None:
            continue
        if line.action in (TERMINATE, REPLACE):
            assert item.tags.get("Stateful") != "true"
        # One that confirmed its drain does not trade.
        if opened and item.state in ("pending", "running") and settings.state == "present" and not item.idle:
            assert line.action not in (REPLACE, RESTART, STOP)
            assert line.action != TERMINATE or line.cause in ("unclaimed", "taken back")
        if line.action == TERMINATE and line.cause == "taken back":
            # The newer of two that racing runs have launched just now; the older one stays.
            assert (NOW - item.launch_time).total_seconds() < settings.claim_grace
            kept = [other for other in plan.lines if other.model == line.model and other.cause != "taken back"]
            assert [other for other in kept if other.instance_id not in ("", line.instance_id)]
        if line.action == TERMINATE and line.cause == "unclaimed" and settings.state == "present":
            assert (NOW - item.launch_time).total_seconds() >= settings.claim_grace


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_no_more_than_the_allowed_share_is_removed(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    claimed = sum(1 for item in ours(settings, instances) if item.model)
    if settings.state == "absent" or len(plan.removals) <= claimed * settings.max_terminate_share + 1e-6:
        plan.check_guard(settings)
    else:
        with pytest.raises(GuardError) as refused:
            plan.check_guard(settings)
        assert all(line.model in str(refused.value) for line in plan.removals)


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_what_is_left_is_either_up_to_date_or_says_why(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    for line in plan.of(LEAVE):
        assert line.tags == ()
        assert line.attributes == ()


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_a_model_that_a_stranger_serves_gets_no_second_server_and_the_stranger_is_named(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    mine = {item.id for item in ours(settings, instances)}
    wanted = {server.name for server in servers}
    for item in instances:
        if not item.live or item.id in mine or item.model not in wanted or settings.state == "absent":
            continue
        if not any(line.instance_id == item.id for line in plan.lines):
            assert not settings.selection.everything  # it is of no concern to a run that selects others
            continue
        assert any(item.id in text and item.model in text for text in plan.alarms)
        for line in plan.lines:
            if line.model == item.model:
                assert line.action not in (CREATE, ADOPT, START)


@examples(max_examples=200, deadline=None)
@given(worlds(), st.data())
def test_one_slip_in_a_model_tag_ends_no_server_and_makes_none(world: Any, data: st.DataObject) -> None:
    settings, servers, instances = world
    before = make_plan(settings, servers, instances, NOW)
    # Of those that racing runs have just launched, an edited one is no longer known as such.
    settled = [item for item in instances if (NOW - item.created).total_seconds() >= settings.claim_grace]
    claimed = [item for item in ours(settings, settled) if item.model]
    slipped = data.draw(st.lists(st.sampled_from(claimed), unique_by=lambda item: item.id)) if claimed else []
    wrong = {item.id: item.with_tags({"Model": data.draw(st.sampled_from(("", *NAMES)))}) for item in slipped}
    after = make_plan(settings, servers, [wrong.get(item.id, item) for item in instances], NOW)

    def acts(plan: Plan) -> set[tuple[str, str, str]]:
        made = (TERMINATE, REPLACE, CREATE, ADOPT, START, STOP)
        return {(line.action, line.model, line.instance_id) for line in plan.lines if line.action in made}

    assert acts(after) == acts(before)


@examples(max_examples=200, deadline=None)
@given(worlds())
def test_what_was_asked_to_drain_is_not_called_up_to_date(world: Any) -> None:
    settings, servers, instances = world
    plan = make_plan(settings, servers, instances, NOW)
    drained = {item.id: item for item in ours(settings, instances) if item.drain_asked and item.state == "running"}
    for line in plan.lines:
        if line.instance_id in drained and line.server:
            assert line.reason != "up to date"
            if line.action == ADOPT:
                # It serves no model yet: there is nothing to drain, and the claim takes the note away.
                assert not drained[line.instance_id].model
            elif settings.power == "running":
                assert line.action in (RESTART, REPLACE) or line.held
