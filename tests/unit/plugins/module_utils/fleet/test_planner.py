# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions, one at a time, each with its reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.fleet.claims import drain_confirmed, drain_note
from ansible_collections.algo.trading.plugins.module_utils.fleet.desired import Server, desired_servers
from ansible_collections.algo.trading.plugins.module_utils.fleet.errors import GuardError, PlanMovedError, SettingsError
from ansible_collections.algo.trading.plugins.module_utils.fleet.instances import Instance
from ansible_collections.algo.trading.plugins.module_utils.fleet.plan import Line, Plan
from ansible_collections.algo.trading.plugins.module_utils.fleet.planfile import SavedPlan
from ansible_collections.algo.trading.plugins.module_utils.fleet.planner import make_plan
from ansible_collections.algo.trading.plugins.module_utils.fleet.settings import FleetSettings

NOW = datetime(2025, 6, 3, 15, 0, tzinfo=UTC)
OPEN = {"open": "09:30", "close": "16:00"}


def settings(**changes: Any) -> FleetSettings:
    base = {
        "project": "p",
        "environment": "qa",
        "image_id": "ami-1",
        "instance_types": ["t3.nano", "t3.micro"],
        "subnet_ids": ["subnet-a", "subnet-b"],
    }
    return FleetSettings.from_dict(base | changes)


def wanted(how: FleetSettings, count: int = 1, version: str = "v1") -> list[Server]:
    return desired_servers(
        how,
        [
            {"name": f"t/S/m{n}-outer_0_inner_0", "type": "t", "symbol": "S", "model": f"m{n}", "version": version}
            for n in range(count)
        ],
    )


def instance(server: Server, number: int = 0, **changes: Any) -> Instance:
    """A running instance that is as the server wants it."""
    tags = {**dict(server.spec.tags), **dict(server.claim_tags), **changes.pop("tags", {})}
    base = Instance(
        id=f"i-{number:08x}",
        type="t3.nano",
        image_id="ami-1",
        subnet_id=server.home,
        launch_time=NOW - timedelta(days=1),
        tags={key: value for key, value in tags.items() if value is not None},
    )
    return replace(base, **changes)


UNCLAIMED = dict.fromkeys(
    ("Model", "ModelType", "Symbol", "ModelName", "ModelVersion", "Name", "Outer", "Inner", "ModelUri")
)


def only(plan: Plan) -> Line:
    assert len(plan.lines) == 1, [str(line) for line in plan.lines]
    return plan.lines[0]


def test_what_is_up_to_date_is_left() -> None:
    how = settings()
    [server] = wanted(how)
    line = only(make_plan(how, [server], [instance(server)], NOW))
    assert (line.action, line.reason) == ("no-op", "up to date")


def publishing(how: FleetSettings, version: str = "v2") -> Server:
    model = {"name": "t/S/m0-outer_0_inner_0", "type": "t", "symbol": "S", "model": "m0", "version": version}
    return desired_servers(how, [{**model, "status": "publishing"}])[0]


def test_no_server_is_made_from_a_model_that_is_being_published() -> None:
    how = settings()
    server = publishing(how)
    line = only(make_plan(how, [server], [], NOW))
    assert (line.action, line.held) == ("hold", "create")
    assert "is being published" in line.reason
    unclaimed = instance(server, tags=UNCLAIMED)
    plan = make_plan(how, [server], [unclaimed], NOW)
    assert sorted(line.action for line in plan.lines) == ["hold", "terminate"]


@pytest.mark.parametrize(
    ("state", "power", "expected"),
    [
        ("running", "running", ("hold", "replace")),
        # It must trade today, and its version is known.
        ("stopped", "running", ("start", "")),
        ("running", "stopped", ("stop", "")),
    ],
)
def test_a_server_keeps_its_version_while_the_next_is_being_published(
    state: str, power: str, expected: tuple[str, str]
) -> None:
    how = settings(power=power, on_change={"version": "replace"})
    [server] = wanted(how)
    line = only(make_plan(how, [publishing(how)], [instance(server, state=state)], NOW))
    assert (line.action, line.held) == expected
    assert "ModelVersion" not in dict(line.tags)


def test_a_model_that_cannot_be_read_is_held_and_fails_the_run() -> None:
    how = settings()
    model = {"name": "t/S/m0-outer_0_inner_0", "type": "t", "symbol": "S", "model": "m0", "version": "v2"}
    [other] = desired_servers(how, [{**model, "name": "t/S/m1-outer_0_inner_0", "model": "m1"}])
    [server] = desired_servers(how, [{**model, "status": "unreadable", "reason": "Allow s3:GetObject on x"}])
    plan = make_plan(how, [server, other], [instance(server, tags={"ModelVersion": "v1"})], NOW)
    assert [(line.action, line.held, line.model) for line in plan.lines] == [
        ("create", "", other.name),
        ("hold", "restart", server.name),
    ]
    assert plan.alarms == ["t/S/m0-outer_0_inner_0: Allow s3:GetObject on x."]


@pytest.mark.parametrize("status", ["publishing", "ambiguous", "unverified", "unreadable"])
def test_a_stopped_server_starts_with_its_own_version_while_its_model_is_not_clear(status: str) -> None:
    how = settings()
    [server] = wanted(how)
    model = {"name": "t/S/m0-outer_0_inner_0", "type": "t", "symbol": "S", "model": "m0", "version": "v2"}
    [unclear] = desired_servers(how, [{**model, "status": status, "uri": "s3://models/another"}])
    asked = {"DrainAsked": "2025-06-02T20:00:00+00:00"}
    line = only(make_plan(how, [unclear], [instance(server, state="stopped", tags=asked)], NOW))
    assert (line.action, line.attributes) == ("start", ())
    assert dict(line.tags) == {"DrainAsked": ""}
    # A restart as another model is no start as before.
    other = instance(server, state="stopped", tags={"ClaimDigest": "0123456789abcdef"})
    assert only(make_plan(how, [unclear], [other], NOW)).held == "start"


def test_a_server_whose_version_is_as_before_is_left_while_its_model_is_touched() -> None:
    how = settings()
    [server] = wanted(how)
    assert only(make_plan(how, [publishing(how, "v1")], [instance(server)], NOW)).action == "no-op"


def test_the_second_best_type_is_up_to_date_too() -> None:
    how = settings()
    [server] = wanted(how)
    assert only(make_plan(how, [server], [instance(server, type="t3.micro")], NOW)).action == "no-op"


@pytest.mark.parametrize(
    ("now", "action", "words"),
    [
        ({"version": "v2"}, "restart", "model version v1 -> v2"),
        ({"image_id": "ami-2"}, "replace", "image ami-1 -> ami-2"),
        ({"instance_types": ["m5.large"]}, "replace", "type t3.nano -> m5.large"),
        ({"configuration": {"a": 1}}, "replace", "configuration "),
        ({"security_group_ids": ["sg-2"]}, "replace", "launch settings "),
        ({"subnet_ids": ["subnet-z"]}, "no-op", "up to date"),
        ({"tags": {"Team": "x"}}, "reconfigure", "tags Team"),
        ({"version": "v2", "on_change": {"version": "reconfigure"}}, "reconfigure", "model version v1 -> v2"),
        ({"version": "v2", "on_change": {"version": "ignore"}}, "no-op", "up to date"),
        ({"image_id": "ami-2", "version": "v2"}, "replace", "model version v1 -> v2; image ami-1 -> ami-2"),
        ({"configuration": {"a": 1}, "on_change": {"configuration": "restart"}}, "restart", "configuration "),
        ({"image_id": "ami-2", "session": OPEN}, "hold", "replace is held: the trading session is open until 16:00"),
        ({"version": "v2", "session": OPEN}, "hold", "restart is held"),
        ({"image_id": "ami-2", "session": OPEN, "once": {"force": True}}, "replace", "image ami-1 -> ami-2"),
        ({"power": "stopped"}, "stop", "running, power is stopped"),
        ({"power": "stopped", "session": OPEN}, "hold", "stop is held"),
    ],
)
def test_a_change_has_its_action_and_reason(now: dict[str, Any], action: str, words: str) -> None:
    before = instance(wanted(settings())[0])
    changes = dict(now)
    version = changes.pop("version", "v1")
    how = settings(**changes)
    line = only(make_plan(how, wanted(how, version=version), [before], NOW))
    assert line.action == action
    assert words in line.reason


ASKED = NOW - timedelta(hours=18)


def test_a_drained_server_that_runs_in_the_session_is_restarted_and_one_that_may_trade_is_reported() -> None:
    how = settings(session=OPEN)
    [server] = wanted(how)
    asked = instance(server, tags={"DrainAsked": drain_note(ASKED)})
    held = make_plan(how, [server], [asked], NOW)
    assert (only(held).action, only(held).held) == ("hold", "restart")
    assert "did not confirm it, so it may be trading or not" in held.alarms[0]
    # Nothing trades on this one.
    idle = instance(server, tags={"DrainAsked": drain_note(ASKED, confirmed=True)})
    assert only(make_plan(how, [server], [idle], NOW)).action == "restart"
    assert only(make_plan(how, [server], [idle], NOW, halt="halted")).held == "restart"
    # Started since, it may trade again.
    began = replace(idle, launch_time=ASKED + timedelta(hours=1))
    assert only(make_plan(how, [server], [began], NOW)).held == "restart"
    # At night it is left, whether it confirmed or not, and nobody is alarmed.
    for item in (asked, idle):
        night = make_plan(replace(how, power="keep"), [server], [item], NOW)
        assert (only(night).action, night.alarms) == ("no-op", [])


@pytest.mark.parametrize("note", ["", "2025", "yesterday confirmed", "2025-06-02T21:00:00 confirmed"])
def test_a_drain_note_that_was_edited_confirms_no_more_than_it_says(note: str) -> None:
    found = drain_confirmed({"DrainAsked": note})
    assert (found is not None) == note.startswith("2025-06-02")
    assert found is None or found.tzinfo


SPOT_CHANGES = [{"tags": {"ConfigDigest": "other"}}, {"type": "m5.large"}]


@pytest.mark.parametrize("change", SPOT_CHANGES)
def test_what_only_a_stopped_server_can_be_given_replaces_a_one_time_spot_server(change: dict[str, Any]) -> None:
    how = settings(on_change={"configuration": "restart", "instance_type": "restart"})
    [server] = wanted(how)
    plain = only(make_plan(how, [server], [instance(server, **change)], NOW))
    assert plain.action == "restart"
    spot = instance(server, **change, lifecycle="spot")
    line = only(make_plan(how, [server], [spot], NOW))
    assert (line.action, line.tags, line.attributes) == ("replace", (), ())
    assert "cannot be stopped, so it is not restarted but replaced" in line.reason
    # As every replacement: not in the session, and not with a protecting tag.
    quiet = replace(how, session=settings(session=OPEN).session)
    assert only(make_plan(quiet, [server], [spot], NOW)).held == "replace"
    held = only(make_plan(how, [server], [spot.with_tags({"Protected": "true"})], NOW))
    assert (held.action, held.held) == ("hold", "replace")
    # Where it is stopped, as a persistent one can be, it starts with the change.
    assert only(make_plan(how, [server], [spot.with_state("stopped")], NOW)).action == "start"


def test_a_reboot_restarts_a_spot_server_too() -> None:
    how = settings()
    [server] = wanted(how)
    old = instance(server, tags={"ModelVersion": "v0"}, lifecycle="spot")
    assert only(make_plan(how, [server], [old], NOW)).action == "restart"


@pytest.mark.parametrize(
    ("power", "state", "action", "reason"),
    [
        ("running", "stopped", "start", "stopped, power is running"),
        ("keep", "stopped", "no-op", "stopped, not changed (power: keep)"),
        ("stopped", "stopped", "no-op", "up to date (stopped)"),
        ("running", "stopping", "start", "stopped, power is running"),
    ],
)
def test_a_stopped_server_is_judged_by_the_wanted_power(power: str, state: str, action: str, reason: str) -> None:
    how = settings(power=power)
    [server] = wanted(how)
    line = only(make_plan(how, [server], [instance(server, state=state)], NOW))
    assert (line.action, line.reason) == (action, reason)


def test_a_stopped_server_learns_of_a_new_version_without_being_started() -> None:
    how = settings(power="keep")
    before = instance(wanted(how)[0], state="stopped")
    line = only(make_plan(how, wanted(how, version="v2"), [before], NOW))
    assert line.action == "reconfigure"
    assert line.reason == "model version v1 -> v2; takes effect when it starts"
    assert dict(line.tags) == {"ModelVersion": "v2"}


def test_of_two_servers_for_one_model_the_oldest_that_fits_is_kept() -> None:
    how = settings()
    [server] = wanted(how)
    old_image = instance(server, 1, image_id="ami-0", launch_time=NOW - timedelta(days=9))
    older, younger = instance(server, 2), instance(server, 3, launch_time=NOW - timedelta(hours=1))
    plan = make_plan(how, [server], [younger, older, old_image], NOW)
    assert {line.instance_id: line.action for line in plan.lines} == {
        old_image.id: "terminate",
        older.id: "no-op",
        younger.id: "terminate",
    }
    # Who ends them ends running servers: it counts against the share, and waits for the session's end.
    assert len(plan.removals) == 2
    with pytest.raises(GuardError, match="2 are second servers of their model"):
        plan.check_guard(how)
    opened = settings(session=OPEN)
    held = make_plan(opened, [server], [younger, older, old_image], NOW)
    assert {line.action for line in held.lines} == {"hold", "no-op"}
    assert all("has two servers" in text for text in held.alarms)


def test_unclaimed_instances_are_given_to_the_models_of_their_batch_in_order() -> None:
    how = settings(subnet_ids=["subnet-a"])
    servers = wanted(how, 4)
    first = instance(servers[0], 7)
    left = [
        instance(servers[0], 9 - n, launch_index=n, tags={**UNCLAIMED, "LaunchBatch": servers[0].name})
        for n in range(1, 4)
    ]
    plan = make_plan(how, servers, [*left, first], NOW)
    adopted = {line.model: line.instance_id for line in plan.of("adopt")}
    assert adopted == {server.name: item.id for server, item in zip(servers[1:], left, strict=True)}


def test_a_stray_is_ended_only_after_its_grace() -> None:
    how = settings(claim_grace=300)
    [server] = wanted(how)
    stray = instance(server, 1, tags=UNCLAIMED, launch_time=NOW - timedelta(seconds=10))
    fits = instance(server, 2)
    assert make_plan(how, [server], [stray, fits], NOW).of("no-op")[0].reason.startswith("unclaimed for less than")
    later = make_plan(how, [server], [stray, fits], NOW + timedelta(seconds=400))
    assert [line.instance_id for line in later.of("terminate")] == [stray.id]


def test_a_replacement_takes_the_unclaimed_instance_that_a_crash_has_left() -> None:
    how = settings()
    [server] = wanted(how)
    old = instance(server, 1, image_id="ami-0")
    ready = instance(server, 2, tags=UNCLAIMED)
    line = only(make_plan(how, [server], [old, ready], NOW))
    assert (line.action, line.instance_id, line.successor) == ("replace", old.id, ready.id)


@pytest.mark.parametrize(("total", "gone", "allowed"), [(10, 2, True), (10, 3, False), (4, 1, False), (1, 1, False)])
def test_no_more_than_the_share_is_terminated(total: int, gone: int, allowed: bool) -> None:
    how = settings()
    servers = wanted(how, total)
    plan = make_plan(how, servers[gone:], [instance(server, n) for n, server in enumerate(servers)], NOW)
    assert len(plan.removals) == gone
    if allowed:
        plan.check_guard(how)
        return
    with pytest.raises(GuardError) as refused:
        plan.check_guard(how)
    for server in servers[:gone]:
        assert server.name in str(refused.value)
    assert "max_terminate_share" in str(refused.value)


def test_an_empty_listing_ends_nothing() -> None:
    how = settings()
    servers = wanted(how, 5)
    plan = make_plan(how, [], [instance(server, n) for n, server in enumerate(servers)], NOW)
    with pytest.raises(GuardError, match="5 of 5 servers would be terminated"):
        plan.check_guard(how)


def test_the_share_in_the_message_is_enough() -> None:
    servers = wanted(settings(), 7)
    items = [instance(server, n) for n, server in enumerate(servers)]
    with pytest.raises(GuardError) as refused:
        make_plan(settings(), servers[3:], items, NOW).check_guard(settings())
    share = float(str(refused.value).split("-e aws_trading_server_once_max_terminate_share=")[1].split(" ")[0])
    how = settings(once={"max_terminate_share": share})
    make_plan(how, servers[3:], items, NOW).check_guard(how)


def test_protected_servers_stay_and_say_so() -> None:
    how = settings(image_id="ami-2", max_terminate_share=1)
    servers = wanted(how, 2)
    items = [instance(server, n, tags={"Stateful": "true"}) for n, server in enumerate(servers)]
    plan = make_plan(how, servers[:1], items, NOW)
    assert [line.action for line in plan.lines] == ["hold", "no-op"]
    assert all("protected by its tag Stateful=true" in line.reason for line in plan.lines)


def test_a_selection_leaves_all_others_alone() -> None:
    how = settings(selection={"models": ["m1"]}, image_id="ami-2")
    servers = wanted(how, 3)
    plan = make_plan(how, servers, [instance(server, n) for n, server in enumerate(servers)], NOW)
    assert [(line.action, line.model) for line in plan.lines] == [("replace", servers[1].name)]


def test_absent_ends_all_that_is_not_protected_whatever_the_session() -> None:
    how = settings(state="absent", session=OPEN, max_terminate_share=0)
    servers = wanted(how, 2)
    items = [instance(server, n) for n, server in enumerate(servers)]
    items.append(instance(servers[0], 7, tags=UNCLAIMED, launch_time=NOW))
    plan = make_plan(how, servers, items, NOW)
    assert {line.action for line in plan.lines} == {"terminate"}
    plan.check_guard(how)


def test_a_saved_plan_is_refused_with_the_difference_when_the_world_has_moved(tmp_path: Any) -> None:
    how = settings()
    servers = wanted(how, 2)
    path = str(tmp_path / "plan.json")
    SavedPlan.of(how, make_plan(how, servers, [], NOW)).save(path)
    saved = SavedPlan.load(how, path)
    saved.require(make_plan(how, servers, [], NOW + timedelta(hours=1)))
    with pytest.raises(PlanMovedError) as refused:
        saved.require(make_plan(how, servers, [instance(servers[0])], NOW))
    assert f"- create {servers[0].name}" in str(refused.value)
    # The same lines, but another image: not what was looked at.
    other = settings(image_id="ami-9")
    with pytest.raises(PlanMovedError):
        saved.require(make_plan(other, wanted(other, 2), [], NOW))
    with pytest.raises(SettingsError, match="another fleet"):
        SavedPlan.load(settings(environment="prod"), path)


def test_an_edited_plan_is_refused(tmp_path: Any) -> None:
    how = settings()
    path = tmp_path / "plan.json"
    SavedPlan.of(how, make_plan(how, wanted(how), [], NOW)).save(str(path))
    path.write_text(path.read_text().replace("create", "terminate"))
    with pytest.raises(SettingsError, match="was edited"):
        SavedPlan.load(how, str(path))


def second_servers(**newer: Any) -> Plan:
    """Ten models have one server each, and three of them another one."""
    how = settings(session=OPEN)
    servers = wanted(how, 10)
    first = [instance(server, number, launch_time=NOW - timedelta(minutes=2)) for number, server in enumerate(servers)]
    base = {"launch_time": NOW - timedelta(minutes=1)}
    second = [instance(server, 20 + number, **base | newer) for number, server in enumerate(servers[:3])]
    plan = make_plan(how, servers, [*second, *first], NOW)
    plan.check_guard(how)
    return plan


@pytest.mark.parametrize("state", ["running", "pending"])
def test_the_newer_of_two_that_racing_runs_launched_is_ended_at_once_and_does_not_count(state: str) -> None:
    plan = second_servers(state=state)
    ended = plan.of("terminate")
    assert [line.instance_id for line in ended] == ["i-00000014", "i-00000015", "i-00000016"]
    assert {line.cause for line in ended} == {"taken back"}
    assert not plan.alarms


def test_racing_runs_keep_the_same_server_though_the_older_one_is_still_pending() -> None:
    plan = second_servers(state="pending", launch_time=NOW - timedelta(minutes=3))
    assert [line.instance_id for line in plan.of("terminate")] == ["i-00000000", "i-00000001", "i-00000002"]


@pytest.mark.parametrize(
    "changes",
    [
        {"launch_time": NOW - timedelta(minutes=10)},
        # Started again this morning: the launch time is new, its disk is not.
        {"attached": NOW - timedelta(days=9)},
        # Claimed for another model: whoever edited the other tags did not launch a second server.
        {"tags": {"ClaimDigest": "0123456789abcdef"}},
        {"tags": {"Model": "t/S/m9-outer_0_inner_0"}},
    ],
)
def test_what_two_runs_at_once_do_not_explain_waits_for_the_session(changes: dict[str, Any]) -> None:
    plan = second_servers(**changes)
    assert not [line for line in plan.of("terminate") if line.instance_id >= "i-00000014"]
    assert [line.held for line in plan.lines].count("terminate") + len(plan.of("terminate")) == 3
