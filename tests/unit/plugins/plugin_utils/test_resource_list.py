"""A list of resources becomes single ones in an order that their references allow, or is refused as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.algo.trading.plugins.plugin_utils.resource_list import ListError, ResourceList

VPC: dict[str, Any] = {"id": "vpc", "module": "amazon.aws.ec2_vpc_net", "name": "net"}
SUBNET: dict[str, Any] = {
    "id": "subnet",
    "module": "amazon.aws.ec2_vpc_subnet",
    "for_each": [{"cidr": "10.0.0.0/24"}, {"cidr": "10.0.1.0/24"}],
    "name": "net-${each.index}",
    "settings": {"vpc_id": "${vpc.id}", "cidr": "${each.cidr}"},
}
TABLE: dict[str, Any] = {
    "id": "table",
    "module": "amazon.aws.ec2_vpc_route_table",
    "name": "net",
    "settings": {"vpc_id": "${vpc.id}", "subnets": "${subnet.*.id}"},
}
RULE: dict[str, Any] = {"module": "community.aws.s3_lifecycle", "for_each": ["a/1", "b/1", "a/2"], "name": "${each}"}


def refused(*entries: Any) -> str:
    with pytest.raises(ListError) as error:
        ResourceList(entries)
    return str(error.value)


def order(*entries: Any) -> list[str]:
    return [item.key for item in ResourceList(entries).order]


def test_an_entry_for_each_becomes_as_many_resources() -> None:
    found = ResourceList([VPC, SUBNET]).items
    assert list(found) == ["vpc", "subnet.0", "subnet.1"]
    assert [item.arguments["name"] for item in found.values()] == ["net", "net-0", "net-1"]
    assert found["subnet.1"].arguments["settings"] == {"vpc_id": "${vpc.id}", "cidr": "10.0.1.0/24"}
    assert found["subnet.1"].needs == {"vpc"}


def test_what_is_referred_to_comes_first_and_the_rest_stays_in_order() -> None:
    assert order(VPC, SUBNET, TABLE) == ["vpc", "subnet.0", "subnet.1", "table"]
    assert order(TABLE, SUBNET, VPC) == ["vpc", "subnet.0", "subnet.1", "table"]
    # The plan's lines are in the order of the list all the same.
    assert list(ResourceList([TABLE, SUBNET, VPC]).items) == ["table", "subnet.0", "subnet.1", "vpc"]


def test_references_are_resolved_from_the_attributes_of_others() -> None:
    resources = ResourceList([VPC, SUBNET, TABLE])
    table = resources.resolve(resources.items["table"], lambda key: {"id": f"id of {key}"})
    assert table["settings"] == {"vpc_id": "id of vpc", "subnets": ["id of subnet.0", "id of subnet.1"]}


def test_results_are_by_id() -> None:
    off = {**VPC, "id": "off", "when": False}
    many = {**SUBNET, "id": "none", "for_each": []}
    results = ResourceList([VPC, SUBNET, off, many, {**TABLE, "id": None}]).results(lambda key: {"key": key})
    assert results == {
        "vpc": {"key": "vpc"},
        "subnet": [{"key": "subnet.0"}, {"key": "subnet.1"}],
        "off": {},
        "none": [],
    }


def test_lists_and_blocks_stand_for_their_entries() -> None:
    assert order([VPC, [SUBNET]], {"block": [TABLE]}) == ["vpc", "subnet.0", "subnet.1", "table"]
    assert order(VPC, {"when": False, "block": [SUBNET, [TABLE]]}) == ["vpc"]
    assert order({"when": "no", "block": [{**VPC, "when": True}]}) == []


def test_a_block_for_each_item_makes_each_entry_stand_for_as_many_resources() -> None:
    entries = [{**VPC, "name": "${each}"}, {"module": TABLE["module"], "name": "${each}", "needs": ["vpc"]}]
    found = ResourceList([{"for_each": ["a", "b"], "block": entries}]).items
    assert [(key, item.arguments["name"]) for key, item in found.items()] == [
        ("vpc.0", "a"),
        ("vpc.1", "b"),
        ("#2.0", "a"),
        ("#2.1", "b"),
    ]
    # An entry's own items count, and those of a block reach into the blocks in it.
    own = {"for_each": ["a", "b"], "block": [{**SUBNET, "settings": {}}, {"block": [{**VPC, "name": "${each}"}]}]}
    assert list(ResourceList([own]).items) == ["subnet.0", "subnet.1", "vpc.0", "vpc.1"]
    assert len(ResourceList([own]).items["subnet.0"].arguments["name"]) == len("net-0")


def test_all_of_what_is_switched_off_is_nothing() -> None:
    resources = ResourceList([VPC, {**SUBNET, "when": False}, TABLE])
    table = resources.resolve(resources.items["table"], lambda key: {"id": key})
    assert table["settings"]["subnets"] == []


def test_needs_have_to_succeed_and_after_is_order_only() -> None:
    found = ResourceList(
        [{**VPC, "after": ["table"]}, {**SUBNET, "settings": {}, "needs": ["vpc"]}, {**TABLE, "settings": {}}]
    )
    assert found.items["subnet.0"].needs == {"vpc"}
    assert not found.items["vpc"].needs
    assert found.items["vpc"].after == {"table"}
    assert [item.key for item in found.order] == ["table", "vpc", "subnet.0", "subnet.1"]


def test_rules_of_one_bucket_are_changed_one_at_a_time() -> None:
    found = ResourceList([RULE]).items
    assert [item.after for item in found.values()] == [frozenset(), frozenset(), {"#1.0"}]


def test_what_is_to_go_needs_none_of_its_settings() -> None:
    gone = ResourceList([{**VPC, "state": "absent"}, {**TABLE, "state": "absent", "settings": {"vpc_id": "${vpc.id}"}}])
    assert gone.items["table"].needs == frozenset()
    assert "has state absent, so it has no attributes" in refused(
        {**VPC, "state": "absent"}, {**TABLE, "settings": {"vpc_id": "${vpc.id}"}}
    )


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([VPC, {**TABLE, "settings": {"vpc_id": "${vcp.id}"}}], "Entry table: ${vcp.id} names vcp"),
        ([VPC, {**TABLE, "settings": {"vpc_id": "${vpc.arn}"}}], "${vpc.arn}: a VPC has id, name, not arn."),
        ([VPC, {**TABLE, "settings": {"vpc_id": "${vpc.0.id}"}}], "${vpc.0.id}: write ${vpc.id}."),
        ([VPC, SUBNET, {**TABLE, "settings": {"vpc_id": "${subnet.id}"}}], "write ${subnet.0.id} or ${subnet.*.id}"),
        ([VPC, SUBNET, {**TABLE, "settings": {"vpc_id": "${subnet.2.id}"}}], "stands for 2 resources, counted from 0"),
        ([{**VPC, "when": False}, {**TABLE, "settings": {"vpc_id": "${vpc.id}"}}], "vpc is switched off by its `when`"),
        ([VPC, VPC], "Entry vpc: another entry has the same id."),
        ([{**VPC, "id": "each"}], "an id has letters, digits and underscores"),
        ([{**VPC, "id": "my-vpc"}], "an id has letters, digits and underscores"),
        ([{**VPC, "setings": {}}], "Entry vpc: setings is not an option. Did you mean settings?"),
        ([{**VPC, "module": "amazon.aws.vpc"}], "Entry vpc: value of module must be one of"),
        ([{"module": "amazon.aws.ec2_vpc_net"}], "Entry 1 (no name): missing required arguments: name"),
        ([{**VPC, "state": "gone"}], "value of state must be one of: present, absent, got: gone"),
        ([{**VPC, "for_each": "all"}], "for_each must be a list"),
        ([{**VPC, "after": "table"}], "after must be a list"),
        ([{**VPC, "after": ["tabel"]}, {**TABLE, "settings": {}}], "after names tabel"),
        ([{**VPC, "needs": ["x"]}], "needs names x, which is the id of no entry."),
        ([{**SUBNET, "name": "${each.nam}"}], "${each.nam}: the item of for_each has cidr."),
        ([VPC, {**TABLE, "name": "${vpc.name}", "settings": {}}], "It can refer to each, not to another entry."),
        (["vpc"], "Entry 1 is 'vpc'. An entry is a dictionary."),
        ([{**VPC, "settings": {"vpc_id": "${vpc}"}}], "${vpc} is not a reference."),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_with_the_entry_and_the_remedy(entries: list[Any], said: str) -> None:
    found = refused(*entries)
    assert said in found
    assert found.endswith("Nothing was changed.")


def test_a_near_miss_is_named() -> None:
    assert "Did you mean vpc?" in refused(VPC, {**TABLE, "settings": {"vpc_id": "${vcp.id}"}})
    assert "Did you mean table?" in refused({**VPC, "after": ["tabel"]}, {**TABLE, "settings": {}})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = refused({**VPC, "setings": {}}, {**SUBNET, "state": "gone"})
    assert "setings is not an option" in found
    assert "value of state" in found


def test_a_cycle_is_refused_with_its_way() -> None:
    found = refused(
        {**VPC, "settings": {"x": "${table.id}"}},
        {**TABLE, "settings": {"vpc_id": "${other.id}"}},
        {**TABLE, "id": "other", "settings": {"vpc_id": "${vpc.id}"}},
    )
    assert "These entries need each other: " in found
    assert {"vpc", "table", "other"} <= set(found.replace("→", "").replace(".", "").split())
    assert "need each other: vpc → vpc" in refused({**VPC, "settings": {"x": "${vpc.id}"}})
