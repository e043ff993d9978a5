"""What is done with a thing follows from what is wanted and what was found, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.module_utils.resources._decide import decide, describe, desired_settings
from ansible_collections.algo.trading.plugins.module_utils.resources._model import ResourceType, States

THING = ResourceType(
    module="a.b.thing",
    title="thing",
    read=lambda clients, scope: (),
    force_new=frozenset({"engine"}),
    steering=frozenset({"purge"}),
    unordered=frozenset({"groups"}),
)
SERVER = ResourceType(
    module="a.b.server",
    title="server",
    read=lambda clients, scope: (),
    force_new=frozenset({"image", "type", "zone"}),
    replaceable=True,
    protection="protected",
)


def found(
    ours: bool = True, tags: dict[str, str] | None = None, pending_deletion: str = "", **settings: Any
) -> dict[str, Any]:
    thing: dict[str, Any] = {"ours": ours, "settings": settings, "attributes": {}, "tags": tags}
    return {**thing, "pending_deletion": pending_deletion} if pending_deletion else thing


def test_what_is_not_there_is_created() -> None:
    decision = decide(THING, {"size": 1, "wait": True, "purge": True}, None)
    assert (decision.action, decision.reasons, decision.changes) == ("create", ("does not exist",), True)
    assert decision.after == {"size": 1}


def test_what_counts_only_when_a_thing_is_made_is_not_compared() -> None:
    kind = replace(THING, create_only=frozenset({"address"}))
    assert decide(kind, {"size": 1, "address": "a"}, found(size=1)).action == "no-op"


def test_what_is_up_to_date_is_left() -> None:
    decision = decide(THING, {"size": 1, "unset": None}, found(size=1, more="than asked for"))
    assert (decision.action, decision.changes) == ("no-op", False)


def test_a_difference_is_an_update_that_names_it() -> None:
    decision = decide(THING, {"size": 2, "name": "x"}, found(size=1, name="x"))
    assert (decision.action, decision.reasons) == ("update", ("size: 1 → 2",))
    assert (decision.before, decision.after) == ({"size": 1}, {"size": 2})


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, "x", "value: unset → x"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}, "value.b: 2 → 3; value.c: unset → 4"),
        (["a", "b"], ["b", "c"], "value: -a +c"),
        (["a", "b"], ["b", "a"], 'value: ["a", "b"] → ["b", "a"]'),
        (True, False, "value: true → false"),
        ("x" * 200, "y", f"value: {'x' * 119}… → y"),
    ],
)
def test_a_reason_says_what_changes(before: Any, after: Any, reason: str) -> None:
    assert decide(THING, {"value": after}, found(value=before)).reasons == (reason,)


def test_the_order_of_a_set_means_nothing() -> None:
    assert decide(THING, {"groups": ["b", "a"]}, found(groups=["a", "b"])).action == "no-op"
    assert decide(THING, {"list": ["b", "a"]}, found(list=["a", "b"])).action == "update"


def test_what_aws_cannot_change_is_refused_where_it_holds_data() -> None:
    decision = decide(THING, {"engine": "b", "size": 2}, found(engine="a", size=1))
    assert (decision.action, decision.changes) == ("refuse", False)
    assert decision.reasons[-1] == "AWS cannot change engine of an existing thing"


def test_what_aws_cannot_change_is_replaced_where_it_holds_none() -> None:
    decision = decide(SERVER, {"image": "b"}, found(image="a"))
    assert (decision.action, decision.reasons, decision.changes) == ("replace", ("image: a → b",), True)


@pytest.mark.parametrize("wanted", [{"image": "b"}, {"image": "b", "protected": True}])
def test_what_is_guarded_is_not_replaced(wanted: dict[str, Any]) -> None:
    decision = decide(SERVER, wanted, found(image="a", protected=True))
    assert decision.action == "refuse"
    assert decision.reasons[-1] == "replacement required, but protected forbids it"


def test_a_guard_is_lifted_before_anything_is_replaced() -> None:
    decision = decide(SERVER, {"image": "b", "protected": False}, found(image="a", protected=True))
    assert (decision.action, decision.after) == ("update", {"protected": False})
    assert "image changes in the next run" in decision.reasons[1]
    assert decide(SERVER, {"image": "b", "protected": False}, found(image="a", protected=False)).action == "replace"


def test_what_is_guarded_is_removed_only_when_that_is_said() -> None:
    protected = found(protected=True)
    refused = decide(SERVER, None, protected)
    assert (refused.action, refused.changes) == ("refuse", False)
    assert refused.reasons == ("protected forbids its deletion; turn it off first",)
    removed = decide(SERVER, None, protected, disable_protection=True)
    assert (removed.action, removed.reasons) == (
        "delete",
        ("is no longer in the settings", "protected is turned off first"),
    )
    assert decide(SERVER, None, found(ours=False, protected=True), disable_protection=True).action == "no-op"


def test_what_is_not_ours_is_refused_with_its_tags() -> None:
    decision = decide(THING, {"size": 1}, found(ours=False, tags={"Owner": "them"}, size=1))
    assert decision.action == "refuse"
    assert "it has: Owner=them" in decision.reasons[0]
    noted = {**found(ours=False, tags={}), "note": "it belongs to another account"}
    assert decide(THING, {"size": 1}, noted).reasons == ("exists, but it belongs to another account",)


def test_what_is_not_ours_is_taken_over_when_the_operator_says_so() -> None:
    theirs = found(ours=False, tags={}, size=1)
    decision = decide(THING, {"size": 2}, theirs, adopt=True)
    assert (decision.action, decision.reasons) == ("update", ("is adopted (algo_adopt)", "size: 1 → 2"))
    assert decide(THING, None, theirs, adopt=True).action == "no-op"


@pytest.mark.parametrize(
    ("thing", "action", "reason"),
    [
        (None, "no-op", "does not exist"),
        (found(ours=False), "no-op", "is externally owned"),
        (found(pending_deletion="being deleted"), "no-op", "is being deleted already"),
        (found(protected=True), "refuse", "protected forbids its deletion; turn it off first"),
        (found(protected=False), "delete", "is no longer in the settings"),
    ],
)
def test_removing(thing: dict[str, Any] | None, action: str, reason: str) -> None:
    decision = decide(SERVER, None, thing)
    assert (decision.action, decision.reasons) == (action, (reason,))


def test_what_is_on_its_way_out_is_restored_or_waited_for() -> None:
    deletion = found(pending_deletion="scheduled for deletion", size=1)
    assert decide(THING, {"size": 1}, deletion).reasons == ("it is scheduled for deletion; wait until it is gone",)
    restorable = ResourceType(module="a.b.c", title="c", read=lambda clients, scope: (), restorable=True)
    decision = decide(restorable, {"size": 2}, deletion)
    assert (decision.action, decision.reasons) == (
        "update",
        ("is scheduled for deletion, and is restored", "size: 1 → 2"),
    )
    assert decide(restorable, {"size": 1}, deletion).action == "update"


WAYS = [{"type": "big", "zone": "a"}, {"type": "big", "zone": "b"}, {"type": "small", "zone": "a"}]


@pytest.mark.parametrize(
    ("thing", "way"),
    [
        (None, WAYS[0]),
        (found(type="big", zone="b"), WAYS[1]),
        (found(type="small", zone="a", image="other"), WAYS[2]),
        (found(type="tiny", zone="a"), WAYS[0]),
        (found(ours=False, type="small", zone="a"), WAYS[0]),
    ],
)
def test_any_of_the_alternatives_is_as_good_as_the_first(thing: dict[str, Any] | None, way: dict[str, str]) -> None:
    assert desired_settings(SERVER, {"image": "x"}, thing, WAYS) == {"image": "x", **way}


def test_without_alternatives_and_values_that_aws_moves_wanted_stays_wanted() -> None:
    assert desired_settings(SERVER, {"image": "x"}, found(image="y")) == {"image": "x"}


def test_a_description_leaves_out_what_only_steers_the_module() -> None:
    given = {"size": 1, "wait": True, "purge_tags": True, "purge": False, "nothing": None, "tags": {"A": "b"}}
    assert describe(THING, given) == {"size": 1, "tags": {"A": "b"}}


def test_adopting_lists_what_would_need_a_new_thing_and_leaves_it() -> None:
    wanted = {"image": "new", "type": "small", "groups": ["a"], "tags": {"Project": "p"}}
    theirs = found(ours=False, image="old", type="small", groups=["b"], protected=True)
    decision = decide(SERVER, wanted, theirs, adopt=True)
    assert (decision.action, decision.left) == ("update", frozenset({"image"}))
    assert set(decision.after) == {"groups", "tags"}
    assert "image: old → new requires a new server; not changed while algo_adopt names it" in decision.reasons
    # Once it carries our tags, the same holds for as long as it is named, and then no longer.
    ours = found(image="old", type="small", groups=["a"])
    assert decide(SERVER, {**wanted, "tags": None}, ours, adopt=True).action == "no-op"
    assert decide(SERVER, {**wanted, "tags": None}, ours).action == "replace"


def test_what_a_module_cannot_change_is_left_on_an_adopted_thing_instead_of_refused() -> None:
    assert decide(THING, {"engine": "a"}, found(ours=False, engine="b"), adopt=True).action == "no-op"


def test_a_stopped_thing_is_not_changed_and_the_refusal_says_how_to_start_it() -> None:
    states = States(frozenset({"available"}), stopped=frozenset({"stopped"}), start="start {name}")
    kind = replace(THING, states=states)
    stopped = {**found(size=1), "attributes": {"id": "db", "state": "Stopped"}}
    assert decide(kind, {"size": 1}, stopped).action == "no-op"
    decision = decide(kind, {"size": 2}, stopped)
    assert decision.action == "refuse"
    assert decision.reasons[-1] == "it is stopped, and AWS cannot change a stopped thing: start db"
